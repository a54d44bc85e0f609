"""What a run would do, foretold without doing any of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from coopery.errors import CooperyError, MachineError, RecipeError
from coopery.keys import Identities, Vanished
from coopery.memory import Memory
from coopery.planning import Plan
from coopery.reasons import explain, lost
from coopery.steps import Identity, Step, Store
from coopery.supplying import Supplied, Supply, not_made

FORCED = ("always = true", "--force")
"""The reasons for which a step runs though it is remembered."""

FindGone = Callable[[Sequence[tuple[Step, Path]]], Collection[str]]
"""As the hook of this name: of results in place, those that are gone from outside the home."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do with a step: `cached`, `run`, or `depends` on the step `on`.

    A step that was not selected is `taken` as it is; it is told of only with a `reason`. Where
    nobody could look whether what it made outside the home folder is still there, `unseen` says
    why, and its verdict takes it for there.
    """

    step: str
    verdict: str
    reason: str
    key: str = ""
    on: str | None = None
    unseen: str = ""


def forecast(
    plan: Plan, store: Store, forced: Collection[str], find_gone: FindGone | None = None
) -> tuple[Forecast, ...]:
    """What a run of this plan would do, step by step, without doing any of it (semantics 5).

    Whether what lies outside the home folder is there yet, `find_gone` tells: it is asked once,
    and only if a run would look for any of it. Without it, that is taken for granted.
    """
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
    _follow_bytes(plan, store, identities, found, _Outside(plan, store, identities, find_gone))
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


class _Outside:
    """What of the results in place is gone from outside the home; looked up at the first need."""

    def __init__(
        self, plan: Plan, store: Store, identities: Identities, find_gone: FindGone | None
    ) -> None:
        self._plan = plan
        self._store = store
        self._identities = identities
        self._find_gone = find_gone
        self.unknown = ""
        """Why that cannot be told."""

    @cached_property
    def gone(self) -> Collection[str]:
        """The names of the steps."""
        made = []
        for name, outputs in self._identities.outputs.items():
            step = self._plan.steps[name]
            paths = [self._store.find(i) for i in outputs.values()] if step.work.in_place else []
            made += [(step, path) for path in paths[:1] if path is not None]
        if not made or self._find_gone is None:
            return ()
        try:
            return self._find_gone(made)
        except MachineError as error:
            # A run that comes to look for them fails of that; what is foretold is told yet.
            self.unknown = error.problems[0].message
            return ()


def _follow_bytes(
    plan: Plan,
    store: Store,
    identities: Identities,
    found: dict[str, Forecast],
    outside: _Outside,
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
        if here.reason in FORCED:
            continue
        gone = {o for o, identity in outputs.items() if store.find(identity) is None}
        text = "its bytes are gone and a reader needs them"
        if not gone and step.work.in_place:
            acting = any(
                found[r].verdict in ("run", "depends") for r, _ in readers[name] if r in found
            )
            if here.verdict == "run" or (readers[name] and not acting):
                continue  # nobody will look for it
            if name in outside.gone:
                gone = set(outputs)
                text = f"{lost(step)} and a reader needs it"
            elif outside.unknown:
                reason = f"{here.reason}; {outside.unknown}"
                found[name] = replace(here, reason=reason, unseen=outside.unknown)
        if not gone:
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
                found[name] = replace(here, verdict="run", reason=text)
        elif "depends" in verdicts:
            on = verdicts["depends"].on
            text = f"depends on {on}: {text.partition(' and a reader')[0]}"
            found[name] = replace(here, verdict="depends", reason=text, on=on)
        elif step.work.in_place and not readers[name] and here.verdict == "cached":
            found[name] = replace(here, verdict="run", reason=lost(step))
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
