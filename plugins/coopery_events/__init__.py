"""The story of a run on stderr: one plain line per event."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery.errors import visible
from coopery.hooks import hookimpl
from coopery.options import Settings, option
from coopery.quantities import show_seconds
from coopery.steps import Event, Outcome, State

TAIL = 12
"""How many of a failed task's last log lines are shown."""


@dataclass(frozen=True)
class EventOptions:
    """How much of the story is told."""

    quiet: bool = option(False, short="-q", help="tell only failures")
    verbose: bool = option(False, short="-v", help="tell of cached steps one by one, with reasons")


@hookimpl
def declare_options() -> Sequence[type]:
    """`--quiet` and `--verbose`."""
    return [EventOptions]


@hookimpl
def observe(events: Sequence[Event], settings: Settings) -> None:
    """Print what happened."""
    options = settings.get(EventOptions)
    for event in events:
        text = _line(event, options)
        if text:
            # One write a line: several threads tell of their steps at once.
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


def _line(event: Event, options: EventOptions) -> str:
    if event.kind == "warning":
        return f"warning: {event.message}"
    if event.outcome is not None:
        return _ended(event, event.outcome, options)
    if options.quiet:
        return ""
    match event.kind:
        case "started":
            return f"start    {event.step}"
        case "retrying":
            return f"retry    {event.step}  ({event.message})"
        case "waiting":
            return f"wait     {event.step}  ({event.message})"
        case "message":
            return event.message
    return ""


def _ended(event: Event, outcome: Outcome, options: EventOptions) -> str:
    count = f"[{event.done}/{event.total}]"
    if outcome.state is State.FAILED:
        return _failure(outcome, count)
    if options.quiet:
        return ""
    reason = f"  ({outcome.reason.text})" if outcome.reason else ""
    match outcome.state:
        case State.SUCCEEDED if outcome.cached:
            return f"cached   {outcome.step} {count}{reason}" if options.verbose else ""
        case State.SUCCEEDED:
            took = (outcome.ended or 0) - (outcome.started or 0)
            return f"done     {outcome.step} in {show_seconds(took)} {count}{reason}"
        case _:
            return f"{outcome.state:<8} {outcome.step} {count}{reason}"


def _failure(outcome: Outcome, count: str) -> str:
    lines = [f"failed   {outcome.step} {count}"]
    lines += [f"  {line}" for problem in outcome.problems for line in str(problem).splitlines()]
    tail = _tail(outcome.log)
    if tail:
        lines += ["  the log ends:", *(f"  | {line}" for line in tail)]
    if outcome.log:
        lines.append(f"  the whole log: {outcome.log}")
    return "\n".join(lines)


def _tail(log: Path | None) -> list[str]:
    """The last lines of a log, with control characters made visible."""
    if log is None:
        return []
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 64 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()[-TAIL:]
    return [visible(line) for line in lines]
