"""What is told of a run, to plugins and to its record, without what is confidential.

Names, keys, digests and paths stay what they are: only what is text for people, or comes from work,
can hold a value that somebody read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from coopery.masking import is_needed, masked, masked_value
from coopery.steps import Event, Made, Outcome


def told(events: Sequence[Event]) -> Sequence[Event]:
    """The events as observers get them."""
    return [_event(event) for event in events] if is_needed() else events


def made(found: Made) -> Made:
    """What was made, with facts and warnings that may be remembered and told."""
    if not is_needed():
        return found
    facts, warnings = masked_value(found.facts), masked_value(found.warnings)
    return replace(found, facts=facts, warnings=warnings)


def entry(step: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of a step."""
    if not is_needed():
        return dict(step)
    texts = ("reason", "problems", "facts", "notes", "command", "params", "waiting")
    return {key: masked_value(value) if key in texts else value for key, value in step.items()}


def _event(event: Event) -> Event:
    outcome = event.outcome and _outcome(event.outcome)
    return replace(event, message=masked(event.message), outcome=outcome)


def _outcome(outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        reason=outcome.reason and replace(outcome.reason, text=masked(outcome.reason.text)),
        problems=masked_value(outcome.problems),
        facts=masked_value(outcome.facts),
    )
