"""The command `run`: bring targets and what they need up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.commands import Command, Context, table
from coopery.hooks import hookimpl
from coopery.options import CoreOptions, option

# This module is loaded for every command; what only `run` needs is imported where it runs.
if TYPE_CHECKING:
    import argparse

    from coopery.opening import Request


@dataclass(frozen=True)
class RunOptions:
    """How failures and the lock are treated."""

    fail_fast: bool = option(False, help="start nothing more once a task has failed")
    locked: bool = option(False, help="refuse to change the lock file, for CI")


@hookimpl
def declare_options() -> Sequence[type]:
    """`--fail-fast` and `--locked`."""
    return [RunOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`run`."""
    return [
        Command(
            name="run",
            help="bring targets (default: all) and what they need up to date",
            run=run_command,
            configure=_configure,
            json=True,
            options=(CoreOptions, RunOptions),
            epilog="A target is a task, an instance (fit@fold=0), a glob, or an output's path.",
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to bring up to date")
    parser.add_argument("-n", "--dry-run", action="store_true", help="tell what would be done")
    parser.add_argument("--force", action="store_true", help="run the targets though remembered")
    parser.add_argument("--force-all", action="store_true", help="run every task though remembered")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs that were edited since"
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
    from coopery.opening import Request
    from coopery.options import LockPolicy
    from coopery.session import run

    arguments = context.arguments
    options = context.settings.get(RunOptions)
    request = Request(
        file=arguments.file,
        targets=tuple(arguments.targets),
        sets=tuple(arguments.sets),
        force=arguments.force,
        force_all=arguments.force_all,
        overwrite=arguments.overwrite,
        fail_fast=options.fail_fast,
        lock=LockPolicy.LOCKED if options.locked else LockPolicy.RENEW,
    )
    if arguments.dry_run:
        return _dry_run(context, request)
    done = run(request, context.plugins, context.settings)
    context.answer(done.record, "")
    return done.report.exit_code


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
