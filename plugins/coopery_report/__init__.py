"""Pictures of recipes and runs: graphs, an HTML report, JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coopery.commands import Command, later
from coopery.hooks import hookimpl
from coopery.options import Settings, option

# This module is loaded for every command; what draws and writes is imported where it is wanted.
if TYPE_CHECKING:
    import argparse

    from coopery.errors import Problem
    from coopery.steps import Event


@dataclass(frozen=True)
class ReportOptions:
    """Files that tell of a run once it has ended."""

    junit: str | None = option(
        None,
        help="write how the run went to FILE, as JUnit XML for CI systems",
        metavar="FILE",
        performing=True,
    )
    report: str | None = option(
        None,
        help="write how the run went to FILE, as a page for a browser",
        metavar="FILE",
        performing=True,
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--junit` and `--report`."""
    return [ReportOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`graph`, `report`."""
    return [
        Command(
            name="graph",
            help="show which task reads from which",
            run=later("coopery_report.graphing"),
            configure=_graph,
            json=True,
            epilog="A task with a matrix is one node that says how many instances it has; "
            "--instances draws each. In an svg a state is a colour, a mark and a word.",
        ),
        Command(
            name="report",
            help="write a page about a run (default: the recipe's latest)",
            run=later("coopery_report.reporting"),
            configure=_report,
            epilog="The page is one file that needs nothing else: a graph, a timeline, a table of "
            "steps, and the ends of failed steps' logs. `coopery run --report FILE` writes it too.",
        ),
    ]


@hookimpl
def observe(events: Sequence[Event], settings: Settings) -> None:
    """Look before a run whether the files can be written; write them after it."""
    for event in events:
        if event.kind == "recorded" and event.record is not None:
            _write(event.record, settings.get(ReportOptions))
        elif event.kind in ("message", "preview"):
            _look(event, settings)


def _look(event: Event, settings: Settings) -> None:
    """Raises RecipeError (`not-writable`, `bad-command-line`), while nothing has run yet."""
    options = settings.get(ReportOptions)
    wanted = {"--junit": options.junit, "--report": options.report}
    files = {flag: name for flag, name in wanted.items() if name}
    if not files:
        return
    from coopery.asked_files import unwritable
    from coopery.errors import Problem, RecipeError

    found: list[Problem] = []
    for flag, name in files.items():
        # A setting that is always there means the runs that happen; a flag means this one.
        preview = event.kind == "preview"
        if preview and settings.source(ReportOptions, flag[2:]) == "flag":
            what = f"{flag} and {event.message} exclude each other"
            message = f"{what}: nothing runs that could be told of"
            found.append(Problem(slug="bad-command-line", message=message, hint="drop one"))
        elif not preview and (problem := unwritable(name, flag)):
            found.append(problem)
    if len(files) == 2 and len(set(files.values())) == 1:
        message = "--junit and --report name the same file"
        found.append(Problem(slug="bad-command-line", message=message, hint="name two"))
    if found:
        raise RecipeError(*found)


def _write(record: Mapping[str, Any], options: ReportOptions) -> None:
    """Raises MachineError (`not-writable`, `disk-full`); what can be written is."""
    from coopery.errors import MachineError

    problems: list[Problem] = []
    if options.junit:
        from coopery_report.junit import junit

        problems += _try(options.junit, junit(record), "--junit")
    if options.report:
        from coopery_report.page import page

        problems += _try(options.report, page(record), "--report")
    if problems:
        raise MachineError(*problems)


def _try(name: str, text: str, flag: str) -> Sequence[Problem]:
    from coopery.asked_files import write
    from coopery.errors import MachineError

    try:
        write(name, text, flag)
    except MachineError as error:
        return error.problems
    return ()


def _graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: every task")
    parser.add_argument(
        "--format",
        choices=("text", "mermaid", "dot", "svg"),
        metavar="FORMAT",
        help="text (the default), mermaid, dot or svg",
    )
    parser.add_argument(
        "--instances", action="store_true", help="one node per instance, not per task"
    )
    parser.add_argument(
        "--state",
        choices=("last", "forecast"),
        metavar="WHICH",
        help="show states too: how the last run left each task, or the forecast of the next run",
    )
    _output(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run's id, its beginning, or a run file"
    )
    parser.add_argument(
        "--format",
        choices=("html", "junit"),
        metavar="FORMAT",
        help="html (the default) or junit",
    )
    _output(parser)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE, not to stdout")
