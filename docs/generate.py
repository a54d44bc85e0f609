"""The parts of the reference that the code knows best: schema, commands, options, hooks.

python docs/generate.py            fails where a file is out of date
python docs/generate.py --write    writes them
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from coopery import hooks, record_schema
from coopery.commands import Command
from coopery.hooks import PROJECT
from coopery.options import CoreOptions, add_flags
from coopery.plugins import Plugins
from coopery.schemas import recipe_schema

FOLDER = Path(__file__).parent / "reference"
COMMANDS = """
A *target* is a task (`fit`), an instance (`fit@fold=0`), a glob (`fit*`), or the path of an output,
which contains a `/`. Without targets a command means all tasks.

Stdout carries the answer, stderr the story. Exit codes: 0 all well, 1 a task failed, 2 the command
line or the recipe is wrong, 3 the machine lacks something, 130 interrupted.

`-f FILE` names the recipe; without it, it is the `recipe.toml` or `recipe.py` in this folder or the
nearest above. It may be a [bundle](bundles.md) in a registry, too; `--bundle-limit` is about these.
`--debug` shows tracebacks. `--without PLUGIN` does without a plugin. All commands take
the [options](options.md) of the engine.
"""
OPTIONS = """
Each option may be given in four ways. The flag wins, then the variable, then the key in the table
`[tool.coopery]` of the pyproject.toml beside the recipe or above it, then the default. An unknown
key is an error.
"""
SWITCHES = """
A yes-or-no option is switched off with `--no-…`, and in a variable with `0`, `false` or `no`. The
runtime may also be named by the recipe, under `defaults.runtime`; the option wins over it.
"""
HOOKS = """
In the order in which a run calls them. A *first* hook stops at the first answer that is not None;
an *all* hook collects every answer. A plugin's function takes those of the arguments that it names.
[Write a plugin](../how-to/write-a-plugin.md) shows a whole one.
"""
NOTE = "<!-- Written by docs/generate.py from the code: change it there. -->\n"


def builtin_plugins() -> Plugins:
    """The plugins of this distribution alone, whatever else is installed."""
    from importlib.metadata import entry_points

    entries = entry_points(group=PROJECT)
    return Plugins((e.name, e.load()) for e in entries if e.dist and e.dist.name == "coopery")


def schema_text(plugins: Plugins) -> str:
    """`recipe.schema.json`."""
    return json.dumps(recipe_schema(plugins.declare_facets()), indent=2, ensure_ascii=False) + "\n"


def record_schema_text(plugins: Plugins) -> str:
    """`record.schema.json`."""
    return json.dumps(record_schema.schema(), indent=2, ensure_ascii=False) + "\n"


def format_text(name: str) -> Callable[[Plugins], str]:
    """The schema of a kind of document that plugins declare."""

    def write(plugins: Plugins) -> str:
        schema = plugins.declare_formats()[name].schema
        assert schema is not None
        return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"

    return write


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in lines
    )


def flags_of(action: argparse.Action) -> str:
    """How an argument is written: `-j, --jobs N`, or `TARGET`."""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return f"`{name}…`" if action.nargs in ("*", "+") else f"`{name}`"
    takes = "" if action.nargs == 0 else f" {name}"
    return f"`{', '.join(action.option_strings)}{takes}`"


def arguments_of(command: Command) -> list[tuple[str, str]]:
    """What a command takes beyond the flags that all commands have."""
    parser = argparse.ArgumentParser(add_help=False)
    command.configure(parser)
    kinds = tuple(kind for kind in command.options if kind is not CoreOptions)
    add_flags(parser, kinds, performing=command.performing)
    hidden = argparse.SUPPRESS
    return [(flags_of(a), a.help or "") for a in parser._actions if a.help != hidden]


def commands_text(plugins: Plugins) -> str:
    """`commands.md`."""
    commands = sorted(plugins.add_commands(), key=lambda command: command.name)
    parts = [
        "# Commands\n",
        NOTE,
        table(
            ("command", "does"), ((f"[`{c.name}`](#coopery-{c.name})", c.help) for c in commands)
        ),
        COMMANDS,
    ]
    for command in commands:
        parts.append(f"## coopery {command.name}\n\n{sentence(command.help)}\n")
        common = [
            *([("`-f, --file FILE`", "the recipe (default: nearest)")] if command.recipe else []),
            *([("`--json`", "answer in JSON")] if command.json else []),
        ]
        rows = [*arguments_of(command), *common]
        if rows:
            parts.append(table(("argument", "meaning"), rows) + "\n")
        if command.epilog:
            parts.append(wrap(sentence(command.epilog)) + "\n")
    return "\n".join(parts)


def sentence(text: str) -> str:
    """Help as a sentence."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def wrap(text: str) -> str:
    """Prose at the width of the docs."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def options_text(plugins: Plugins) -> str:
    """`options.md`."""
    rows = []
    for kind in plugins.declare_options():
        for item in dataclasses.fields(kind):
            flag = item.name.replace("_", "-")
            short = item.metadata.get("short")
            shown = f"`{short}`, `--{flag}`" if short else f"`--{flag}`"
            if not item.metadata.get("flag", True):
                shown = "none"
            default = "none" if item.default in (None, "", ()) else f"`{toml(item.default)}`"
            rows.append(
                (
                    shown,
                    f"`COOPERY_{item.name.upper()}`",
                    f"`{flag}`",
                    default,
                    item.metadata["help"],
                )
            )
    header = ("flag", "variable", "key in pyproject.toml", "default", "meaning")
    return "\n".join(
        [
            "# Options\n",
            NOTE,
            OPTIONS.lstrip(),
            table(header, rows) + "\n",
            SWITCHES.lstrip(),
        ]
    )


def toml(value: object) -> str:
    """A default as a recipe would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def hooks_text(plugins: Plugins) -> str:
    """`hooks.md`: the docstring of every hook, in the order in which a run calls them."""
    found = [
        (name, item)
        for name, item in vars(hooks).items()
        if inspect.isfunction(item) and hasattr(item, f"{PROJECT}_spec")
    ]
    parts = [
        "# Hooks\n",
        NOTE,
        HOOKS.lstrip(),
    ]
    for name, item in found:
        first, _, rest = inspect.cleandoc(item.__doc__ or "").partition("\n\n")
        kind, _, meaning = " ".join(first.split()).partition(": ")
        arguments = ", ".join(inspect.signature(item).parameters)
        parts.append(f"## {name}\n\n`{name}({arguments})`, *{kind.lower()}*: {meaning}\n")
        code = re.sub(r"\n\n+(?=@)", "\n\n\n", textwrap.dedent(rest).rstrip())
        parts.append(f"```python\n{code}\n```\n")
    return "\n".join(parts)


FILES: Mapping[str, Callable[[Plugins], str]] = {
    "recipe.schema.json": schema_text,
    "record.schema.json": record_schema_text,
    "processing-container.schema.json": format_text("processing-container"),
    "task.schema.json": format_text("task"),
    "commands.md": commands_text,
    "options.md": options_text,
    "hooks.md": hooks_text,
}


def outdated(plugins: Plugins) -> dict[Path, str]:
    """The files that are not as the code would have them, with what they should hold."""
    wanted = {FOLDER / name: write(plugins) for name, write in FILES.items()}
    return {
        file: text
        for file, text in wanted.items()
        if not file.exists() or file.read_text("utf-8") != text
    }


def main(arguments: Any = None) -> int:
    """Check, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what is out of date")
    given = parser.parse_args(arguments)
    found = outdated(builtin_plugins())
    for file, text in found.items():
        if given.write:
            file.write_text(text, "utf-8")
        print(f"{'wrote' if given.write else 'out of date:'} {file}")
    if found and not given.write:
        print("renew them: nox -s docs -- --write")
    return int(bool(found) and not given.write)


if __name__ == "__main__":
    sys.exit(main())
