"""What a run would do, foretold without doing any of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from coopery.errors import CooperyError
from coopery.keys import Identities, Vanished, explain
from coopery.planning import Plan
from coopery.steps import Identity, Step, Store


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do with a step: `cached`, `run`, or `depends` on the step `on`."""

    step: str
    verdict: str
    reason: str
    key: str = ""
    on: str | None = None


def forecast(plan: Plan, store: Store, forced: Collection[str]) -> tuple[Forecast, ...]:
    """What a run of this plan would do, step by step, without doing any of it (semantics 5)."""
    identities = Identities(store, plan.steps)
    found: dict[str, Forecast] = {}
    for name, step in plan.steps.items():
        unknown = next((need for need in step.waits_for if need not in identities.outputs), None)
        if unknown is not None and not step.always and name not in forced:
            behind = found[unknown]
            on = behind.on if behind.verdict == "depends" and behind.on else unknown
            found[name] = Forecast(step=name, verdict="depends", reason=f"depends on {on}", on=on)
            continue
        if unknown is not None:
            text = "always = true" if step.always else "--force"
            found[name] = Forecast(step=name, verdict="run", reason=text)
            continue
        found[name] = _foresee(step, identities, store, forced)
    return tuple(found.values())


def _foresee(step: Step, identities: Identities, store: Store, forced: Collection[str]) -> Forecast:
    try:
        key = identities.key_of(step)
    except Vanished as error:
        return Forecast(step=step.name, verdict="run", reason=f"{error} is gone")
    except CooperyError as error:
        return Forecast(step=step.name, verdict="run", reason=error.problems[0].message)
    record = store.recall([key]).get(key)
    if step.work.in_place:
        # Work in place has the identity of its key: what follows can be foreseen.
        identities.outputs[step.name] = {
            o: Identity(digest=key, kind="place") for o in step.outputs
        }
    if step.name in forced or step.always:
        text = "always = true" if step.always else "--force"
        return Forecast(step=step.name, verdict="run", reason=text, key=key)
    if record is None:
        _, text = explain(store.nearest(step.name, step.work.kind), step, identities)
        return Forecast(step=step.name, verdict="run", reason=text, key=key)
    identities.outputs[step.name] = record.outputs
    if step.work.in_place and not all(store.find(i) for i in record.outputs.values()):
        return Forecast(step=step.name, verdict="run", reason="it is not on this machine", key=key)
    return Forecast(step=step.name, verdict="cached", reason=f"made by run {record.run}", key=key)
