"""Commands that look and do not change: what there is, why, what was, and what came out."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from coopery.commands import Command, Context
from coopery.hooks import hookimpl


@hookimpl
def add_commands() -> Sequence[Command]:
    """`list`, `why`, `logs`, `show`, `get`, `validate`, `init`, `plugins`, `schema`."""
    return [
        Command(
            name="list",
            help="list the recipe's tasks and images",
            run=_run("listing"),
            json=True,
        ),
        Command(
            name="why",
            help="say what of a target changed, or which run made its result",
            run=_run("why"),
            configure=_why,
            json=True,
            epilog="A target is a task, an instance (fit@fold=0), a glob, or an output's path.",
        ),
        Command(
            name="logs",
            help="print what a task printed when it last ran",
            run=_run("logs"),
            configure=_logs,
            json=True,
        ),
        Command(
            name="show",
            help="show the record of a run (default: the latest)",
            run=_run("showing"),
            configure=_show,
            json=True,
        ),
        Command(
            name="get",
            help="copy an output out of the store",
            run=_run("getting"),
            configure=_get,
            json=True,
            epilog="An output of a task with a matrix comes as a folder of all its instances; "
            "fit@fold=0.model is that of one.",
        ),
        Command(
            name="validate",
            help="check a recipe without planning or running it",
            run=_run("validating"),
            configure=_validate,
            json=True,
        ),
        Command(
            name="init",
            help="write a first recipe into the current folder",
            run=_run("starting"),
            configure=_init,
            recipe=False,
        ),
        Command(
            name="plugins",
            help="list the installed plugins and the hooks they answer",
            run=_run("listing", "run_plugins"),
            json=True,
            recipe=False,
        ),
        Command(
            name="schema",
            help="print the JSON Schema of recipe.toml",
            run=_run("listing", "run_schema"),
            json=True,
            recipe=False,
        ),
    ]


def _run(module: str, function: str = "run") -> Callable[[Context], int]:
    """A command's function in a module that is imported when the command is chosen."""

    def run(context: Context) -> int:
        chosen: Any = importlib.import_module(f"{__name__}.{module}")
        code: int = getattr(chosen, function)(context)
        return code

    return run


def _targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: every task")


def _sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="TASK.PARAM=VALUE",
        help="override a parameter, as in run",
    )


def _why(parser: argparse.ArgumentParser) -> None:
    _targets(parser)
    _sets(parser)


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a task, an instance, a glob, or a step")
    parser.add_argument("--run", metavar="RUN", help="of this run (default: the latest)")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id, or its beginning")


def _get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="TASK.OUTPUT", help="what to copy")
    parser.add_argument(
        "destination",
        nargs="?",
        metavar="DEST",
        help="a new path, or a folder to put it in (default: the current folder)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    _sets(parser)


def _validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", action=_RecipeFile, metavar="FILE", help="default: the nearest recipe"
    )


class _RecipeFile(argparse.Action):
    """Takes a positional recipe as `-f` does, so that the settings beside it are read too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.path = values
        if values is not None and namespace.file is None:
            namespace.file = values


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", action="store_true", help="write recipe.py, not recipe.toml")
