"""The commands `run` and `build`: bring targets, or images alone, up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.commands import Command, Context, table
from coopery.errors import MachineError
from coopery.hooks import hookimpl
from coopery.options import CoreOptions, Selection, option

# This module is loaded for every command; what only `run` needs is imported where it runs.
if TYPE_CHECKING:
    import argparse

    from coopery.opening import Request
    from coopery.options import Settings


@dataclass(frozen=True)
class RunOptions:
    """How failures and the lock are treated."""

    fail_fast: bool = option(
        False, help="start nothing more once a task has failed", performing=True
    )
    locked: bool = option(False, help="refuse to change the lock file, for CI")
    capacity: tuple[str, ...] = option(
        (),
        help="how much of a resource there is, as in license=1",
        metavar="NAME=AMOUNT",
        performing=True,
    )
    priority: int = option(
        0,
        help="of runs that wait for the same resources, the highest goes first",
        metavar="N",
        performing=True,
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--fail-fast` and `--locked`."""
    return [RunOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`run` and `build`."""
    return [
        Command(
            name="run",
            help="bring targets (default: all) and what they need up to date",
            run=run_command,
            configure=_configure,
            json=True,
            options=(CoreOptions, RunOptions),
            epilog="A target is a task, an instance (fit@fold=0), a glob, or an output's path.",
        ),
        Command(
            name="build",
            help="make images (default: all) without running a task",
            run=_build,
            configure=_configure_build,
            json=True,
            options=(CoreOptions, RunOptions),
        ),
    ]


def _build(context: Context) -> int:
    from coopery_run.building import run

    return run(context)


def _configure_build(parser: argparse.ArgumentParser) -> None:
    from coopery_run.building import configure

    configure(parser)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to bring up to date")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--only", action="store_true", help="run the targets alone")
    how.add_argument(
        "--needs-only", action="store_true", help="run all that the targets need, without them"
    )
    how.add_argument(
        "--downstream", action="store_true", help="run the targets and all that depends on them"
    )
    parser.add_argument(
        "-k", "--keep-going", action="store_true", help="finish what does not need what failed"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="tell what would be done")
    parser.add_argument(
        "--watch", action="store_true", help="run again whenever a file changes that was read"
    )
    parser.add_argument(
        "--shell", action="store_true", help="open a shell in the place of the one TARGET"
    )
    parser.add_argument("--force", action="store_true", help="run the targets though remembered")
    parser.add_argument("--force-all", action="store_true", help="run every task though remembered")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs that were edited since"
    )
    parser.add_argument(
        "--detach",
        action="store_true",
        help="let the run go on by itself, and end once it has begun: its id is the answer",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write a run file, by which status, logs and stop find it"
    )
    parser.add_argument(
        "--exit-code",
        choices=("run", "task"),
        metavar="WHOSE",
        help="whose exit code to end with: run, or task for that of the one TASK's command "
        "(default: run, unless the recipe is of a kind that says otherwise)",
    )
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="TASK.PARAM=VALUE",
        help="override a parameter (a TOML value, or a bare word)",
    )


def run_command(context: Context) -> int:
    """Run, or tell what a run would do."""
    from coopery.model import ExitCode
    from coopery.opening import Request
    from coopery.options import LockPolicy
    from coopery.session import run

    arguments = context.arguments
    _check_outside(arguments)
    caller = None
    if arguments.detach:
        from coopery_run import detaching

        caller = detaching.caller()
        if caller is None:
            _check(arguments, context.settings)
            return detaching.detach(context)
    watcher = None
    if arguments.watch:
        from coopery_run import watching

        watcher = watching.watcher()
        if watcher is None:
            return watching.watch(context)
    options = context.settings.get(RunOptions)
    _check(arguments, context.settings)
    request = Request(
        file=arguments.file,
        targets=tuple(arguments.targets),
        sets=tuple(arguments.sets),
        force=arguments.force,
        force_all=arguments.force_all,
        overwrite=arguments.overwrite,
        fail_fast=options.fail_fast and not arguments.keep_going,
        selection=_selection(arguments),
        capacity=options.capacity,
        priority=options.priority,
        lock=LockPolicy.LOCKED if options.locked else LockPolicy.RENEW,
        exit_code=ExitCode(arguments.exit_code) if arguments.exit_code else None,
        detached=caller is not None,
    )
    if arguments.shell:
        from coopery_run.shells import open_shell

        return open_shell(context, request)
    if arguments.dry_run:
        return _dry_run(context, request)
    observe = None
    if arguments.output is not None or caller is not None:
        from coopery_run.outside import Outside

        observe = Outside(context, caller)
    done = run(request, context.plugins, context.settings, observe)
    if watcher is not None:
        watching.tell_reads(watcher, done.plan, context)
    if caller is None:
        context.answer(done.record, "")
    if done.report.problems:
        raise MachineError(*done.report.problems)
    return done.exit_code


def _check_outside(arguments: argparse.Namespace) -> None:
    """Refuse what concerns a run as seen from outside where none is to be seen."""
    from coopery.errors import Problem, RecipeError

    instead = [f"--{n.replace('_', '-')}" for n in ("dry_run", "shell") if getattr(arguments, n)]
    watch = ["--watch"] if arguments.watch else []
    excluded = {
        "--detach": (arguments.detach, [*instead, *watch]),
        "--output": (arguments.output is not None, instead),
        "--exit-code": (arguments.exit_code is not None, [*instead, *watch]),
    }
    found = [
        Problem(
            slug="bad-command-line",
            message=f"{flag} and {others[0]} exclude each other",
            hint="use one of them",
        )
        for flag, (given, others) in excluded.items()
        if given and others
    ]
    if found:
        raise RecipeError(*found)


def _selection(arguments: argparse.Namespace) -> Selection:
    chosen = [s for s in Selection if getattr(arguments, s.replace("-", "_"), False)]
    return chosen[0] if chosen else Selection.NEEDED


def _check(arguments: argparse.Namespace, settings: Settings) -> None:
    """Refuse options that contradict each other, or make no sense alone."""
    from coopery.errors import Problem, RecipeError

    problems = []
    if arguments.keep_going and settings.source(RunOptions, "fail_fast") == "flag":
        problems.append("--keep-going and --fail-fast contradict each other")
    selection = _selection(arguments)
    if selection != "needed" and not arguments.targets:
        problems.append(f"--{selection} needs a target")
    if arguments.force and arguments.force_all:
        problems.append("--force and --force-all contradict each other")
    if problems:
        hint = "see coopery run --help"
        raise RecipeError(
            *(Problem(slug="bad-command-line", message=text, hint=hint) for text in problems)
        )


def _dry_run(context: Context, request: Request) -> int:
    from coopery.session import preview

    plan, forecasts = preview(request, context.plugins, context.settings)
    document = {
        "recipe": str(plan.recipe.file),
        "runtime": plan.runtime,
        "steps": [
            {
                "step": f.step,
                "kind": plan.steps[f.step].work.kind,
                "forecast": f.verdict,
                "on": f.on,
                "reason": f.reason,
                "key": f.key,
            }
            for f in forecasts
        ],
    }
    context.answer(document, table([(f.verdict, f.step, f.reason) for f in forecasts]))
    return 0
