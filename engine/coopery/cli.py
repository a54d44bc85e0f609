"""argv to a command, errors to text and exit code; the commands come from plugins."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from coopery.commands import Command
    from coopery.plugins import Plugins


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, 1, 2, 3 or 130)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:
        # Started with stderr closed: what is printed there must not end up in stdout, and no file
        # that is opened later may bear its number.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if arguments in (["--version"], ["-V"]):
        from coopery import __version__

        print(f"coopery {__version__}")
        return 0
    from coopery import inherited, screening, stdout
    from coopery.errors import CooperyError

    screening.guard_stderr()
    inherited.keep_out_passwords(os.environ)
    debug = "--debug" in arguments
    answers = stdout.guard()
    try:
        code = _run(arguments, answers=answers)
        sys.stdout.flush()
        return code
    except CooperyError as error:
        if any(problem.slug == "no-stdout" for problem in error.problems):
            stdout.forsake()
        if debug:
            raise
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        if len(error.problems) > 1:
            print(f"{len(error.problems)} errors", file=sys.stderr)
        left_out, _ = _without(arguments)
        if left_out:
            names = ", ".join(left_out)
            print(f"note: left out by --without: {names}; it may be missed here", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout went away (`coopery list | head`); say nothing more to it.
        stdout.forsake()
        sys.stderr.close()
        return 1


def _run(arguments: list[str], *, answers: bool) -> int:
    import gc
    from pathlib import Path

    from coopery import stdout
    from coopery.commands import Context
    from coopery.errors import MachineError, Problem
    from coopery.options import read_settings
    from coopery.plugins import Plugins

    # Nearly all that a command makes lives until it ends. Looking for garbage cycles each time
    # 700 objects more are alive, as Python does, takes a tenth of the time of a large recipe.
    gc.set_threshold(50_000)
    without, arguments = _without(arguments)
    plugins = Plugins.discover(without)
    kinds = plugins.declare_options()
    parser = make_parser(plugins, arguments[0] if arguments else None)
    namespace = parser.parse_args(arguments)
    command: Command | None = getattr(namespace, "command", None)
    if command is None:
        parser.print_help()
        return 2
    if not answers and getattr(namespace, "json", False):
        stdout.refuse()
    try:
        start = Path.cwd()
    except FileNotFoundError:
        message = "the current folder is gone: it was removed or moved away"
        raise MachineError(
            Problem(slug="no-folder", message=message, hint="cd to one that is there")
        ) from None
    given = getattr(namespace, "file", None)
    if given:
        from coopery.recipes import folder_of

        start = folder_of(start, given)
    settings = read_settings(kinds, namespace, start)
    return command.run(Context(arguments=namespace, plugins=plugins, settings=settings))


def _without(arguments: list[str]) -> tuple[list[str], list[str]]:
    """`--without NAME` is read before plugins are found, wherever it stands."""
    names: list[str] = []
    rest: list[str] = []
    items = iter(arguments)
    for item in items:
        if item == "--":
            rest += [item, *items]
        elif item == "--without":
            names.append(next(items, ""))
        elif item.startswith("--without="):
            names.append(item.removeprefix("--without="))
        else:
            rest.append(item)
    return names, rest


def make_parser(plugins: Plugins, first: str | None) -> argparse.ArgumentParser:
    """The parser of the command that the `first` argument names, else of all.

    A call needs no other's arguments, and making them all takes longer than reading a recipe.
    """
    import argparse

    from coopery.options import CoreOptions, about_reading, add_flags

    class Parser(argparse.ArgumentParser):
        """Errors in the form of all errors, with the nearest choice."""

        def error(self, message: str) -> None:  # type: ignore[override]
            from coopery.errors import Problem, RecipeError, nearest

            hint = f"see {self.prog} --help"
            what, choice, rest = message.partition(": invalid choice: '")
            if choice:
                wrong, _, known = rest.partition("' (choose from ")
                choices = known.rstrip(")").replace("'", "").split(", ")
                name = what.removeprefix("argument ").split("/")[-1]
                if name == "COMMAND":
                    message, choices = f"there is no command {wrong!r}", [c.name for c in commands]
                else:
                    message = f"{name}: there is no {wrong!r}"
                hint = nearest(wrong, choices) or hint
            raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))

    commands = sorted(plugins.add_commands(), key=lambda command: command.name)
    parser = Parser(
        prog="coopery",
        description="Make for container tasks: every image built once, every task run once.",
        epilog="`coopery COMMAND --help` tells more. Exit codes: 0 all well, 1 a task failed, "
        "2 the command line or the recipe is wrong, 3 the machine lacks something, "
        "130 interrupted.",
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    parser.add_argument(
        "--without", metavar="PLUGIN", help="do without this plugin (may be given several times)"
    )
    sub = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    for command in [c for c in commands if c.name == first] or commands:
        child = sub.add_parser(
            command.name, help=command.help, description=command.help, epilog=command.epilog
        )
        if command.recipe:
            child.add_argument("-f", "--file", metavar="FILE", help="the recipe (default: nearest)")
        else:
            child.set_defaults(file=None)
        if command.json:
            child.add_argument("--json", action="store_true", help="answer in JSON")
        child.add_argument("--debug", action="store_true", help="show tracebacks")
        own = tuple(k for k in command.options if k is not CoreOptions)
        others = plugins.declare_options()[1:]
        # Options of plugins that tell the run's story go with every command that runs.
        extra = others if CoreOptions in command.options else ()
        core = {"home": command.home, "runtime": command.recipe}
        if CoreOptions not in command.options:
            # What a command would take no notice of is refused rather than ignored.
            add_flags(
                child,
                (CoreOptions,),
                tuple(n for n, takes in core.items() if takes),
                helps={"runtime": command.runtime},
            )
        else:
            own = (CoreOptions, *own)
        add_flags(
            child,
            tuple(dict.fromkeys((*own, *extra))),
            performing=command.performing,
            helps={"runtime": command.runtime},
            reading=command.recipe,
        )
        if command.recipe:
            rest = tuple(kind for kind in others if kind not in (*own, *extra))
            add_flags(child, rest, about_reading(rest))
        command.configure(child)
        child.set_defaults(command=command)
    return parser
