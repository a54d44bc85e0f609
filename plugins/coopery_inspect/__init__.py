"""Commands that look and do not change: what there is, why, what was, and what came out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from coopery.commands import Command, later
from coopery.hooks import hookimpl

_RUN = "a run's id, its beginning, or a run file"


@hookimpl
def add_commands() -> Sequence[Command]:
    """What there is, what was and what runs: `list`, `why`, `runs`, `status`, `logs` and others."""
    return [
        Command(
            name="list",
            help="list the recipe's tasks and images",
            run=later("coopery_inspect.listing"),
            json=True,
        ),
        Command(
            name="why",
            help="say what of a target changed, or which run made its result",
            run=later("coopery_inspect.why"),
            configure=_why,
            json=True,
            epilog="A target is a task, an instance (fit@fold=0), a glob, an output's path, or an "
            "image.",
        ),
        Command(
            name="logs",
            help="print what a task printed when it last ran, or prints as it runs",
            run=later("coopery_inspect.logs"),
            configure=_logs,
            json=True,
            recipe=False,
            epilog="With -f, which names the recipe elsewhere, the log of a run under way is "
            "printed as it grows until the task has ended; a task that has not started is waited "
            "for.",
        ),
        Command(
            name="status",
            help="tell what runs now",
            run=later("coopery_inspect.status"),
            configure=_status,
            json=True,
        ),
        Command(
            name="runs",
            help="list the runs of the recipe, latest first",
            run=later("coopery_inspect.overview"),
            configure=_runs,
            json=True,
        ),
        Command(
            name="stop",
            help="end a run that is under way, as Ctrl-C does where it runs",
            run=later("coopery_inspect.ending"),
            configure=_stop,
            json=True,
        ),
        Command(
            name="show",
            help="show the record of a run (default: the latest)",
            run=later("coopery_inspect.showing"),
            configure=_show,
            json=True,
        ),
        Command(
            name="get",
            help="copy an output out of the store",
            run=later("coopery_inspect.getting"),
            configure=_get,
            json=True,
            epilog="An output of a task with a matrix comes as a folder of all its instances; "
            "fit@fold=0.model is that of one.",
        ),
        Command(
            name="validate",
            help="check a recipe, or another document, without planning or running it",
            run=later("coopery_inspect.validating"),
            configure=_validate,
            json=True,
        ),
        Command(
            name="init",
            help="write a first recipe, or another document, into the current folder",
            run=later("coopery_inspect.starting"),
            configure=_init,
            recipe=False,
            home=False,
        ),
        Command(
            name="plugins",
            help="list the installed plugins and the hooks they answer",
            run=later("coopery_inspect.listing", "run_plugins"),
            json=True,
            recipe=False,
            home=False,
        ),
        Command(
            name="schema",
            help="print the JSON Schema of recipes, of records, or of another document",
            run=later("coopery_inspect.listing", "run_schema"),
            configure=_schema,
            json=True,
            recipe=False,
            home=False,
        ),
    ]


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
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK",
        help=f"a task, an instance, a glob, or a step; or {_RUN}, alone for all its tasks",
    )
    parser.add_argument("--run", metavar="RUN", help=f"of this run, {_RUN} (default: the latest)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as long as it runs")
    parser.add_argument("--failed", action="store_true", help="of the steps that failed")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    parser.add_argument("--file", metavar="FILE", help="the recipe (default: nearest)")


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help=f"{_RUN}, under way or not")


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="of all recipes")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="at most so many (default: 20)"
    )


def _stop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "living_run",
        nargs="?",
        metavar="RUN",
        help=f"{_RUN} (default: the only one of the recipe under way)",
    )
    parser.add_argument("--now", action="store_true", help="give tasks no time to end")
    parser.add_argument(
        "--no-wait", dest="wait", action="store_false", help="do not wait until it has ended"
    )


def _schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "format", nargs="?", metavar="KIND", help="of this kind of document (default: recipe)"
    )
    parser.add_argument("--record", action="store_true", help="that of a run's record")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help=_RUN)


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
    parser.add_argument(
        "--schema",
        metavar="KIND",
        help="what the file is: recipe, or the name of another kind (default: by its contents)",
    )
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a parameter, or give a value that the document asks for",
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
    parser.add_argument(
        "--from",
        dest="kind",
        metavar="KIND",
        help="begin another document with what SOURCE is; of a kind that plugins declare",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="what to begin with")
