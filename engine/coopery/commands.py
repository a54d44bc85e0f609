"""What a sub-command is, for plugins that add one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coopery.errors import visible

if TYPE_CHECKING:
    import argparse

    from coopery.options import Settings
    from coopery.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a command gets: its parsed arguments, the plugins, and the settings."""

    arguments: argparse.Namespace
    plugins: Plugins
    settings: Settings

    def answer(self, document: Any, text: str) -> None:
        """Print the answer on stdout: `document` as JSON under `--json`, else `text`."""
        if getattr(self.arguments, "json", False):
            import json

            print(json.dumps(document, indent=2, sort_keys=False, default=str))
        elif text:
            # Descriptions and names may be of a bundle, which is anybody's.
            print(visible(text))

    @staticmethod
    def print(text: str) -> None:
        """Print an answer that has one form only, such as a document, on stdout."""
        print(text)

    @staticmethod
    def tell(text: str) -> None:
        """Print a part of the story on stderr."""
        print(text, file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A sub-command. `configure` adds its arguments; `run` returns the exit code.

    With `recipe`, it takes `-f/--file`, and `-r` for a runtime; with `home`, it takes `--home`;
    with `json`, it takes `--json`. `options` are the option dataclasses whose flags it takes; a
    command that takes CoreOptions takes all of the engine's, such as `-j`, save those that are
    about `performing` steps where it performs none. `runtime` is what `-r` means to it, where that
    is not where tasks run.
    """

    name: str
    help: str
    run: Callable[[Context], int]
    configure: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    json: bool = False
    recipe: bool = True
    home: bool = True
    options: tuple[type, ...] = ()
    performing: bool = True
    runtime: str = ""
    epilog: str = ""


def later(module: str, function: str = "run") -> Callable[..., Any]:
    """A function in a module that is imported when it is first called, not when coopery starts."""

    def call(*arguments: Any) -> Any:
        import importlib

        return getattr(importlib.import_module(module), function)(*arguments)

    return call


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] | None = None) -> str:
    """Rows as aligned columns, two spaces apart."""
    lines = [header, *rows] if header else rows
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


__all__ = ["Command", "Context", "Mapping", "later", "table"]
