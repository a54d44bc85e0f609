"""Events as lines that stay: their first word says what happened, and colour only repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from coopery.quantities import show_seconds
from coopery.steps import Event, Outcome, State
from coopery_events.logs import last_lines
from coopery_events.modes import Volume

STYLES = {
    "done": "green",
    "cached": "cyan",
    "failed": "bold red",
    "skipped": "yellow",
    "cancelled": "yellow",
    "retry": "yellow",
    "warning:": "yellow",
    "stopping:": "bold yellow",
    "killing:": "bold red",
}
"""The colour of a line's first word; other words have none."""


def line_of(event: Event, volume: Volume, *, live: bool) -> str:
    """What is said of an event; nothing for those that are not told.

    A `live` display shows by itself what has started and what waits.
    """
    if event.kind == "warning":
        return f"warning: {event.message}"
    if event.outcome is not None:
        return _ended(event, event.outcome, volume)
    match event.kind:
        case "stopping":
            return "stopping: nothing more starts, and what runs gets time to end\n" + (
                "  Ctrl-C again kills it" if live else "  asked again, it is killed"
            )
        case "killing":
            return "killing: what still runs"
        case _ if volume is Volume.QUIET:
            return ""
        case "started" if not live:
            return f"start    {event.step}"
        case "waiting" if not live:
            return f"wait     {event.step}  ({event.message})"
        case "retrying":
            return f"retry    {event.step}  ({event.message})"
        case "message":
            return event.message
    return ""


def _ended(event: Event, outcome: Outcome, volume: Volume) -> str:
    count = f"[{event.done}/{event.total}]"
    if outcome.state is State.FAILED:
        return _failure(event, outcome, count)
    if volume is Volume.QUIET:
        return ""
    reason = f"  ({outcome.reason.text})" if outcome.reason else ""
    match outcome.state:
        case State.SUCCEEDED if outcome.cached:
            text = f"cached   {outcome.step} {count}{reason}"
            return text if volume is Volume.VERBOSE else ""
        case State.SUCCEEDED:
            return f"done     {outcome.step}{_took(outcome)} {count}{reason}"
        case State.CANCELLED:
            return f"cancelled {outcome.step}{_took(outcome)} {count}"
        case _:
            return f"{outcome.state:<8} {outcome.step}{_took(outcome)} {count}{reason}"


def _took(outcome: Outcome) -> str:
    if outcome.started is None or outcome.ended is None:
        return ""
    return f" in {show_seconds(outcome.ended - outcome.started)}"


def _failure(event: Event, outcome: Outcome, count: str) -> str:
    """What is needed to go on: the log's end, the reason, the whole log, the way to try again."""
    lines = [f"failed   {outcome.step}{_took(outcome)} {count}"]
    if outcome.log:
        try:
            tail = last_lines(outcome.log)
        except OSError as error:
            lines.append(f"  its log cannot be read: {error}")
        else:
            lines += ["  the log ends:", *(f"  | {line}" for line in tail)] if tail else []
    lines += [f"  {line}" for problem in outcome.problems for line in str(problem).splitlines()]
    if outcome.log:
        lines.append(f"  the whole log: {outcome.log}")
    if event.again:
        lines.append(f"  run it again:  {shlex.join(event.again)}")
    return "\n".join(lines)


LISTED = 20
"""How many failures the end of a run lists again."""


def failures(events: Sequence[Event], run: str) -> str:
    """The failures of a run once more, for when what was said of them is out of sight."""
    lines = [f"failed in this run: {len(events)}"]
    for event in events[:LISTED]:
        problems = event.outcome.problems if event.outcome else ()
        reason = str(problems[0]).splitlines()[0] if problems else "failed"
        lines.append(f"  {event.step}: {reason}")
        if event.outcome and event.outcome.log:
            lines.append(f"    the whole log: {event.outcome.log}")
        if event.again:
            lines.append(f"    run it again:  {shlex.join(event.again)}")
    if len(events) > LISTED:
        lines.append(f"  … and {len(events) - LISTED} more: coopery show {run}")
    return "\n".join(lines)
