"""What a run would do, foretold without doing any of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from coopery.errors import CooperyError, RecipeError
from coopery.keys import Identities, Vanished
from coopery.memory import Memory
from coopery.planning import Plan
from coopery.reasons import explain
from coopery.steps import Identity, Step, Store
from coopery.supplying import Supplied, Supply, not_made

FORCED = ("always = true", "--force")
"""The reasons for which a step runs though it is remembered."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do with a step: `cached`, `run`, or `depends` on the step `on`.

    A step that was not selected is `taken` as it is; it is told of only with a `reason`.
    """

    step: str
    verdict: str
    reason: str
    key: str = ""
    on: str | None = None


def forecast(plan: Plan, store: Store, forced: Collection[str]) -> tuple[Forecast, ...]:
    """What a run of this plan would do, step by step, without doing any of it (semantics 5)."""
    identities = Identities(store, plan.steps)
    memory = Memory(store, plan.recipe.file)
    supply = Supply(plan, store, memory, identities)
    missing = supply.missing()
    if missing:
        raise RecipeError(*not_made(plan, missing))
    order = plan.order
    found: dict[str, Forecast] = {}
    for name, before in order.items():
        step = plan.steps[name]
        if all(need in identities.outputs for need in before):
            for supplied in supply.provide(step):
                found[supplied.step] = _taken(supplied)
        unknown = next((n for n in step.waits_for if n not in identities.outputs), None)
        if unknown is None:
            found[name] = _foresee(step, identities, store, memory, forced)
        elif step.always or name in forced:
            text = FORCED[0] if step.always else FORCED[1]
            found[name] = Forecast(step=name, verdict="run", reason=text)
        else:
            if unknown not in order:  # not selected itself, it comes after something that is
                unknown = next(n for n in before if n not in identities.outputs)
            behind = found[unknown]
            on = behind.on if behind.verdict == "depends" and behind.on else unknown
            found[name] = Forecast(step=name, verdict="depends", reason=f"depends on {on}", on=on)
    _follow_bytes(plan, store, identities, found)
    return tuple(
        found[name]
        for name in plan.steps
        if name in found and (name in order or found[name].reason)
    )


def _taken(supplied: Supplied) -> Forecast:
    """What is to be said of a result that is taken as it is: only of a stale one anything is."""
    text = f"stale: its latest success is taken (run {supplied.record.run})"
    reason = text if supplied.stale else ""
    return Forecast(step=supplied.step, verdict="taken", reason=reason, key=supplied.record.key)


def _follow_bytes(
    plan: Plan, store: Store, identities: Identities, found: dict[str, Forecast]
) -> None:
    """Backwards through the plan: bytes are wanted where a reader performs (semantics 4).

    A remembered step whose bytes are gone is made again for a reader that runs; an environment
    that is not there is not made when nobody will look into it.
    """
    readers: dict[str, list[tuple[str, str]]] = {name: [] for name in plan.steps}
    for name, step in plan.steps.items():
        for source in (source for need in step.needs for source in need.outputs):
            readers[source.step].append((name, source.output))
    destinations = [d.destination for name in found for d in plan.steps[name].deliveries]
    delivered = store.deliverable(destinations)
    for name in reversed(list(plan.steps)):
        outputs = identities.outputs.get(name)
        if outputs is None or name not in found:
            continue
        step, here = plan.steps[name], found[name]
        gone = {o for o, identity in outputs.items() if store.find(identity) is None}
        if not gone or here.reason in FORCED:
            continue
        seen = [
            found[reader] for reader, output in readers[name] if reader in found and output in gone
        ]
        verdicts = {reader.verdict: reader for reader in seen}
        undelivered = name in plan.selected and any(
            delivered.get(d.destination) != outputs[d.output].digest
            for d in step.deliveries
            if d.output in gone
        )
        if "run" in verdicts or undelivered:
            if here.verdict in ("cached", "taken"):
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
