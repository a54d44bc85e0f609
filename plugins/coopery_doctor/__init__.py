"""`doctor`: what is well or wrong with this machine, and its mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from coopery.commands import Command, Context
from coopery.hooks import hookimpl

if TYPE_CHECKING:
    import argparse

    from coopery.findings import Finding


@hookimpl
def add_commands() -> Sequence[Command]:
    """`doctor`."""
    return [
        Command(
            name="doctor",
            help="look at the machine and the home folder; say what is wrong, and how to mend it",
            run=_run,
            configure=_configure,
            json=True,
            recipe=False,
            epilog="Exit code 0 when nothing is in the way, 3 otherwise.",
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mend", action="store_true", help="mend what can be mended")


def _run(context: Context) -> int:
    from coopery_doctor.reporting import report

    return report(context)


@hookimpl(tryfirst=True)
def diagnose(quick: bool) -> Iterable[Finding]:
    """The machine; of no interest before a run."""
    if quick:
        return ()
    from coopery_doctor import machine

    return machine.look()
