"""What a run would do, foretold without doing any of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from coopery.errors import CooperyError
from coopery.keys import Identities, Vanished, explain
from coopery.memory import Memory
from coopery.planning import Plan
from coopery.steps import Identity, Step, Store

FORCED = ("always = true", "--force")
"""The reasons for which a step runs though it is remembered."""


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
    memory = Memory(store, plan.recipe.file)
    found: dict[str, Forecast] = {}
    for name, step in plan.steps.items():
        unknown = next((need for need in step.waits_for if need not in identities.outputs), None)
        if unknown is not None and not step.always and name not in forced:
            behind = found[unknown]
            on = behind.on if behind.verdict == "depends" and behind.on else unknown
            found[name] = Forecast(step=name, verdict="depends", reason=f"depends on {on}", on=on)
            continue
        if unknown is not None:
            text = FORCED[0] if step.always else FORCED[1]
            found[name] = Forecast(step=name, verdict="run", reason=text)
            continue
        found[name] = _foresee(step, identities, store, memory, forced)
    _follow_bytes(plan, store, identities, found)
    return tuple(found.values())


def _follow_bytes(
    plan: Plan, store: Store, identities: Identities, found: dict[str, Forecast]
) -> None:
    """Backwards through the plan: bytes are wanted where a reader performs (semantics 4).

    A remembered step whose bytes are gone is made again for a reader that runs; an environment
    that is not there is not made when nobody will look into it.
    """
    readers: dict[str, list[str]] = {name: [] for name in plan.steps}
    for name, step in plan.steps.items():
        for need in step.waits_for:
            readers[need].append(name)
    destinations = [d.destination for step in plan.steps.values() for d in step.deliveries]
    delivered = store.deliverable(destinations)
    for name in reversed(list(plan.steps)):
        step, here = plan.steps[name], found[name]
        outputs = identities.outputs.get(name)
        if outputs is None:
            continue
        there = all(store.find(identity) is not None for identity in outputs.values())
        verdicts = {found[reader].verdict: found[reader] for reader in readers[name]}
        if there or here.reason in FORCED:
            continue
        undelivered = any(
            delivered.get(d.destination) != outputs[d.output].digest for d in step.deliveries
        )
        if "run" in verdicts or undelivered:
            if here.verdict == "cached":
                text = "its bytes are gone and a reader needs them"
                found[name] = replace(here, verdict="run", reason=text)
        elif "depends" in verdicts:
            on = verdicts["depends"].on
            text = f"depends on {on}: its bytes are gone"
            found[name] = replace(here, verdict="depends", reason=text, on=on)
        elif step.work.in_place and readers[name]:
            text = "not needed: all that reads it is remembered"
            found[name] = replace(here, verdict="cached", reason=text)


def _foresee(
    step: Step, identities: Identities, store: Store, memory: Memory, forced: Collection[str]
) -> Forecast:
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
        text = FORCED[0] if step.always else FORCED[1]
        return Forecast(step=step.name, verdict="run", reason=text, key=key)
    if record is None:
        _, text = explain(memory.latest(step.name), step, identities)
        return Forecast(step=step.name, verdict="run", reason=text, key=key)
    identities.outputs[step.name] = record.outputs
    if step.work.in_place and not all(store.find(i) for i in record.outputs.values()):
        return Forecast(step=step.name, verdict="run", reason="it is not on this machine", key=key)
    return Forecast(step=step.name, verdict="cached", reason=f"made by run {record.run}", key=key)
