"""Results that a run takes as they are, of steps that were not selected (semantics 6)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from coopery.errors import CooperyError, Problem
from coopery.keys import Identities, Vanished
from coopery.memory import Memory
from coopery.planning import Plan
from coopery.steps import Identity, Record, Step, Store


@dataclass(frozen=True, kw_only=True)
class Supplied:
    """The result of a step that was not selected.

    It is `stale` when it is not what a run of that step would give now, as far as one can tell.
    """

    step: str
    record: Record
    stale: bool


class Supply:
    """Finds the results that selected steps read of others, once all that those need is known."""

    def __init__(self, plan: Plan, store: Store, memory: Memory, identities: Identities) -> None:
        self._plan = plan
        self._store = store
        self._memory = memory
        self._identities = identities
        self._seen: set[str] = set()
        self.supplied: dict[str, Supplied] = {}

    def missing(self) -> tuple[str, ...]:
        """The steps that selected ones read and that were never made; asked before anything runs.

        What depends on a selected step can only be taken from its latest success, as yet.
        """
        plan = self._plan
        read = {
            need
            for name in plan.selected
            for need in plan.steps[name].waits_for
            if need not in plan.selected
        }
        found = []
        for name in plan.steps:  # in order, so that what is found first is known to the rest
            if name in plan.selected:
                continue
            step = plan.steps[name]
            record = self._current(step)
            if record is not None:
                self._identities.outputs[name] = record.outputs
            elif name in read and not step.work.in_place and self._memory.latest(name) is None:
                found.append(name)
        for name in plan.steps:
            self._identities.outputs.pop(name, None)
        return tuple(found)

    def provide(self, step: Step) -> list[Supplied]:
        """Make known what a selected step reads of unselected ones; returns what is new.

        All selected steps before it must have ended.
        """
        return list(self._provide(step))

    def _provide(self, step: Step) -> Iterator[Supplied]:
        stack = [(name, False) for name in reversed(step.waits_for)]
        while stack:
            name, ready = stack.pop()
            if name in self._plan.selected or (not ready and name in self._seen):
                continue
            producer = self._plan.steps[name]
            if not ready:
                self._seen.add(name)
                stack.append((name, True))
                stack += [(need, False) for need in reversed(producer.waits_for)]
                continue
            found = self._find(producer)
            if found is not None:
                self.supplied[name] = found
                self._identities.outputs[name] = found.record.outputs
                yield found

    def _find(self, step: Step) -> Supplied | None:
        record = self._current(step)
        if record is not None:
            return Supplied(step=step.name, record=record, stale=False)
        record = self._memory.latest(step.name)
        return Supplied(step=step.name, record=record, stale=True) if record else None

    def _current(self, step: Step) -> Record | None:
        """What a run of the step would recall now; None too when that cannot be told."""
        if not self._identities.known(step):
            return None
        try:
            key = self._identities.key_of(step)
        except (Vanished, CooperyError):
            return None
        if step.work.in_place:
            outputs = {output: Identity(digest=key, kind="place") for output in step.outputs}
            return Record(key=key, step=step.name, kind=step.work.kind, outputs=outputs)
        return None if step.always else self._store.recall([key]).get(key)


def not_made(plan: Plan, names: tuple[str, ...]) -> list[Problem]:
    """One problem for each step whose result is wanted and was never made."""
    tasks = [name for name in names if plan.steps[name].work.kind == "task"]
    return [
        Problem(
            slug="not-made",
            message=f"{name} is read, but was not selected and never made",
            hint=f"make it: {shlex.join(plan.again(tasks))}",
        )
        for name in names
    ]
