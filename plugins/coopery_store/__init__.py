"""The memory and the objects, in a home folder on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.commands import Command, Context
from coopery.hooks import hookimpl
from coopery_store.options import CacheOptions

if TYPE_CHECKING:
    import argparse

    from coopery.findings import Finding
    from coopery.options import Settings
    from coopery.steps import Store

_ACTIONS = {
    "info": "what the home folder holds, which images an engine keeps for it, and what could go",
    "gc": "evict what was used least recently, until home and images are within their budgets",
    "verify": "read everything and say what is damaged (exit code 3 if something stays so)",
}


@hookimpl
def declare_options() -> Sequence[type]:
    """The size budget."""
    return [CacheOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`cache`."""
    return [
        Command(
            name="cache",
            help="look at, shrink or check the home folder",
            run=_cache,
            configure=_configure,
            json=True,
            recipe=False,
            epilog="; ".join(f"{name}: {text}" for name, text in _ACTIONS.items()) + ".",
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(_ACTIONS), help="see below")
    what = parser.add_argument_group("with `info` and `gc`")
    what.add_argument(
        "--budget", metavar="SIZE", help="instead of the option cache-budget: 20Gi, 0, none"
    )
    what.add_argument("--images-budget", metavar="SIZE", help="instead of the option images-budget")
    what.add_argument(
        "--older-than", metavar="TIME", help="instead of the option cache-age: 12h, 30d, 0"
    )
    what.add_argument("--keep-runs", type=int, metavar="N", help="instead of the option")
    gc = parser.add_argument_group("with `gc`")
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    verify = parser.add_argument_group("with `verify`")
    verify.add_argument(
        "--repair", action="store_true", help="set aside what is damaged, so that it is made anew"
    )


def _cache(context: Context) -> int:
    from coopery_store import commands

    return commands.run(context)


@hookimpl(trylast=True)
def open_store(home: Path, settings: Settings) -> Store:
    """Open the home folder, making it where there is none."""
    from coopery_store.options import read_limits
    from coopery_store.store import HomeStore

    return HomeStore(home, read_limits(settings, home))


@hookimpl(trylast=True)
def diagnose(home: Path, settings: Settings, mend: bool, quick: bool) -> Iterable[Finding]:
    """The home folder; before a run, only what dead runs left.

    Last, since others look for what dead runs left in the scratch folders that go here.
    """
    if quick:
        from coopery_store.locks import is_held

        # What a planning that was killed left bears no lock file, but this name.
        if not any(home.glob("metadata-*")) and all(
            is_held(lock) for lock in (home / "scratch").glob("*.lock")
        ):
            return ()
    from coopery_store import diagnosing

    return diagnosing.quick(home) if quick else diagnosing.thorough(home, settings, mend=mend)
