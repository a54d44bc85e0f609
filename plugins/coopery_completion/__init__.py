"""Shell completion: commands, tasks and channels, for bash, zsh and fish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coopery.commands import Command, Context
from coopery.hooks import hookimpl

if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")


@hookimpl
def add_commands() -> Sequence[Command]:
    """`completion`."""
    return [
        Command(
            name="completion",
            help="print the script that completes coopery's arguments in a shell",
            run=run_command,
            configure=_configure,
            recipe=False,
            epilog="For this session: source <(coopery completion bash). Commands, flags, tasks, "
            "instances, channels and runs are completed, those of the recipe that is named with "
            "-f, else of the nearest.",
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    import argparse

    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    # What the scripts call. The words come on stdin: among the arguments, some of them (`--`,
    # `--without`) would be taken for this command's own.
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)


def run_command(context: Context) -> int:
    """Print a shell's script, or answer it."""
    arguments = context.arguments
    if arguments.answer:
        from coopery_completion.answering import print_answer

        return print_answer(arguments.shell, context.plugins)
    from coopery_completion.scripts import SCRIPTS

    print(SCRIPTS[arguments.shell], end="")
    return 0
