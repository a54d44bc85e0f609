"""Which words may stand at the cursor, as the parsers of the commands say."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.cli import make_parser
from coopery_completion.candidates import KINDS, Candidate, Sources

if TYPE_CHECKING:
    from coopery.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a shell is told: see `coopery_completion.scripts` for `kind`."""

    kind: str = "words"
    candidates: tuple[Candidate, ...] = ()


def print_answer(shell: str, plugins: Plugins) -> int:
    """Answer a shell on stdout, with nothing else, whatever a recipe in Python may print.

    Stdin has the words after `coopery` up to the cursor, each with a NUL after it; from bash, the
    line up to the cursor and COMP_WORDBREAKS.
    """
    words = sys.stdin.read().split("\0")[:-1]
    if shell == "bash":
        from coopery_completion.lines import replacement, split

        text, breaks = words
        line = split(text)
        found = _in_silence(lambda: answer(line.words[1:], plugins))
        texts = [replacement(c.text, line, breaks) for c in found.candidates]
    else:
        found = _in_silence(lambda: answer(words, plugins))
        texts = [f"{c.text}\t{c.told}" if c.told else c.text for c in found.candidates]
    print("\n".join([found.kind, *texts]))
    return 0


def _in_silence(ask: Callable[[], Answer]) -> Answer:
    """Ask with stdout and stderr switched off, in this process and all that it starts."""
    sys.stdout.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - pathlib is not loaded for it
        try:
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
            return ask()
        finally:
            sys.stdout.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def answer(words: Sequence[str], plugins: Plugins) -> Answer:
    """What may stand for the last of these words, given those before it."""
    *before, word = words or [""]
    place = 0
    while place < len(before) and before[place].startswith("-"):
        place += 2 if before[place] == "--without" else 1
    if place >= len(before):
        return _command(before, word, plugins)
    name = before[place]
    parser = make_parser(plugins, name)
    child = _children(parser).get(name)
    if child is None:
        return Answer()
    return _argument(child, before[place + 1 :], word, plugins)


def _children(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def _command(before: Sequence[str], word: str, plugins: Plugins) -> Answer:
    """The first word: a command, or a flag that all have."""
    if before[-1:] == ["--without"]:
        return _values("PLUGIN", word, "", Sources(plugins))
    if word.startswith("-"):
        return _flags(make_parser(plugins, ""), word)
    commands = sorted(plugins.add_commands(), key=lambda command: command.name)
    return _fitting([Candidate(c.name, c.help) for c in commands], word)


def _argument(
    parser: argparse.ArgumentParser, before: Sequence[str], word: str, plugins: Plugins
) -> Answer:
    """A flag, a flag's value, or an argument of a command."""
    positionals = [a for a in parser._actions if not a.option_strings]
    flags = parser._option_string_actions
    waiting: argparse.Action | None = None
    options: dict[str, str] = {}
    given: list[str] = []
    ended = False
    for item in before:
        if waiting is not None:
            options[waiting.dest] = item
            waiting = None
        elif item == "--" and not ended:
            ended = True
        elif item.startswith("-") and item != "-" and not ended:
            name, equals, value = item.partition("=")
            action = flags.get(name)
            if action is not None and action.nargs != 0:
                if equals:
                    options[action.dest] = value
                else:
                    waiting = action
        else:
            given.append(item)
    sources = Sources(plugins, options, tuple(given))
    if waiting is not None:
        return _of(waiting, word, "", sources)
    name, equals, value = word.partition("=")
    if word.startswith("--") and equals and not ended:
        action = flags.get(name)
        return _of(action, value, f"{name}=", sources) if action else Answer()
    if word.startswith("-") and not ended:
        return _flags(parser, word)
    index = len(given)
    if index < len(positionals):
        return _of(positionals[index], word, "", sources)
    if positionals and positionals[-1].nargs in ("*", "+"):
        return _of(positionals[-1], word, "", sources)
    return Answer()


def _flags(parser: argparse.ArgumentParser, word: str) -> Answer:
    """The flags of a parser; the long ones, unless only a short one fits."""
    found = []
    for action in parser._actions:
        names = [name for name in action.option_strings if name.startswith(word)]
        if names and action.help != argparse.SUPPRESS:
            long = [name for name in names if name.startswith("--")]
            found += [Candidate(name, action.help or "") for name in long or names]
    return Answer(candidates=tuple(found))


def _of(action: argparse.Action, word: str, before: str, sources: Sources) -> Answer:
    """The values of an argument: its choices, else those of the kind that its metavar names."""
    if action.help == argparse.SUPPRESS:
        return Answer()
    if action.choices is not None:
        return _fitting([Candidate(str(choice)) for choice in action.choices], word, before)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    kind = action.dest if action.dest in KINDS else metavar
    return _values(kind, word, before, sources)


def _values(kind: str, word: str, before: str, sources: Sources) -> Answer:
    match KINDS.get(kind):
        case None:
            return Answer()
        case str() as shell_knows:
            return Answer(kind=shell_knows)
        case look:
            return _fitting(look(sources, word), word, before)


def _fitting(found: Sequence[Candidate], word: str, before: str = "") -> Answer:
    """Those that begin with the word, after what stands before it in the same argument."""
    fitting = [c for c in found if c.text.startswith(word)]
    goes_on = bool(fitting) and all(c.text.endswith(("=", "@", "/")) for c in fitting)
    return Answer(
        kind="open" if goes_on else "words",
        candidates=tuple(Candidate(f"{before}{c.text}", c.told) for c in fitting),
    )
