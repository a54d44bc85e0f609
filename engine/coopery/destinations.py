"""Destinations that a run would not overwrite, told before anything runs (semantics 10)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from coopery.errors import Problem, StepError, problem
from coopery.forecasting import forecast
from coopery.memory import Memory
from coopery.planning import Plan
from coopery.recipes import located
from coopery.steps import Delivery, Store

EDITED = "edited"
"""What `Store.deliverable` says of a destination that holds what coopery did not put there."""


def refused(
    plan: Plan,
    store: Store,
    forced: Collection[str],
    states: Mapping[Path, str] | None = None,
) -> list[Problem]:
    """A problem (`output-edited`) for each destination at which a run would have to stop.

    `states` are what the store said of the destinations. What holds the very bytes that would be
    put there, or those of the step's latest success, is none. A task that never succeeded in this
    recipe might yet make what stands at its destination, as after the home folder was removed:
    of that a warning is given, and its result is remembered whatever becomes of it.
    """
    wanted = {d.destination: (name, d) for name in plan.order for d in plan.steps[name].deliveries}
    if states is None:
        states = store.deliverable(list(wanted))
    edited = {path: wanted[path] for path, state in states.items() if state == EDITED}
    if not edited:
        return []
    keys = {f.step: f.key for f in forecast(plan, store, forced) if f.verdict == "cached"}
    records = store.recall(list(keys.values()))
    memory = Memory(store, plan.recipe.file)
    found = []
    for path, (name, delivery) in edited.items():
        record = records.get(keys.get(name, "")) or memory.latest(name)
        made = record.outputs.get(delivery.output) if record else None
        if made is None:
            found.append(located(_foreign(delivery), plan.recipe.locate))
        elif made.digest != _content(path, store):
            found.append(located(_edited(delivery), plan.recipe.locate))
    return found


def _content(path: Path, store: Store) -> str | None:
    if path.is_symlink():  # it would be replaced, not what it leads to
        return None
    try:
        found = store.identify_many([path])
    except StepError:
        return None
    return found[path].digest if path in found else None


def _foreign(delivery: Delivery) -> Problem:
    message = f"{delivery.destination} was not written by coopery: only the same is put there"
    hint = "move it away, or let it be replaced with --overwrite"
    found = problem("output-edited", message, key=delivery.key, hint=hint)
    return replace(found, warning=True)


def _edited(delivery: Delivery) -> Problem:
    message = f"{delivery.destination} was not written by coopery, or was edited since"
    hint = "move it away, or let it be replaced with --overwrite; nothing was run"
    return problem("output-edited", message, key=delivery.key, hint=hint)
