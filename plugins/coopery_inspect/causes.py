"""Find what changed: from a result to the one before it, through the steps behind its inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from coopery.history import History
from coopery.images import ImageBuild
from coopery.keys import LISTING, ORIGIN, Identities, parts_of
from coopery.planning import Plan
from coopery.reasons import UNRECORDED, Change, changes, places_of, words
from coopery.steps import Identity, Part, Record, Step
from coopery_inspect.chains import cross, crosses

SHOWN = 4
"""How many steps of a long way to a cause are named."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One thing that changed: a part of `step`'s key, or all of it when `part` is empty.

    `through` is the way from the target to that step, as its reader calls each need on it:
    `image science`, `input table of prepare`.
    """

    code: str
    step: str
    part: str
    text: str
    through: tuple[str, ...] = ()

    def __str__(self) -> str:
        way = self.through
        if len(way) > SHOWN:
            way = (*way[: SHOWN - 1], f"… {len(way) - SHOWN} more …", way[-1])
        return ": ".join((*way, self.text))


@dataclass(frozen=True)
class _Way:
    """A linked list from a step back to the target: a way can be as long as the plan."""

    label: str
    before: _Way | None


class Search:
    """Compares steps of a plan with results of earlier runs."""

    def __init__(self, plan: Plan, identities: Identities, history: History) -> None:
        self.plan = plan
        self.identities = identities
        self.history = history

    def certain(self, step: Step, old: Record | None) -> tuple[Cause, ...]:
        """What differs already, though not all that the step needs is known yet."""
        if old is None:
            return ()
        known = self.identities.outputs
        needs = tuple(need for need in step.needs if all(name in known for name in need.steps))
        unknown = {need.role for need in step.needs} - {need.role for need in needs}
        unknown |= {f"{LISTING}{role}" for role in unknown}
        if "base" in unknown:  # whatever it was built on then
            unknown |= {part.name for part in old.parts if part.name.startswith(ORIGIN)}
        step = replace(step, needs=needs)
        old = replace(old, parts=tuple(part for part in old.parts if part.name not in unknown))
        same = not changes(old.parts, parts_of(step, self.identities))
        return () if same else self.causes(step, old)

    def causes(self, step: Step, old: Record | None) -> tuple[Cause, ...]:
        """What differs between an earlier result and the step as it is planned now.

        A part that is another step's result is followed to what changed there. The identities
        of all that `step` needs must be known.
        """
        if old is None:
            text = "nothing like it was made before"
            return (Cause(code="new", step=step.name, part="", text=text),)
        found: list[Cause] = []
        seen = {step.name}
        pending: list[tuple[Step, Record, _Way | None]] = [(step, old, None)]
        while pending:
            current, record, way = pending.pop()
            found_here = changes(record.parts, parts_of(current, self.identities))
            if not found_here:
                found.append(_unexplained(current, way))
            deeper: list[tuple[Step, Record, _Way | None]] = []
            owner: Callable[[Change], Step] = partial(_itself, current)
            if any(crosses(current, change) for change in found_here):
                recall = self.history.store.recall
                crossing = cross(self.plan, current, record, self.identities, recall)
                found_here, owner = list(crossing.changes), crossing.owner
                if crossing.below is not None and self._differs(*crossing.below, seen):
                    seen.add(crossing.below[0].name)
                    deeper.append((*crossing.below, way))
            for change in found_here:
                behind = self._behind(owner(change), change, record)
                if not behind:
                    found.append(self._cause(owner(change), change, way))
                for producer, then in behind:
                    if producer.name not in seen:  # one behind two inputs is told of once
                        seen.add(producer.name)
                        # The parts of an image are built on each other, and are one to people.
                        inside = current.work.kind == producer.work.kind == ImageBuild.kind
                        further = way if inside else _Way(_label(change, producer), way)
                        deeper.append((producer, then, further))
            pending += reversed(deeper)
        return tuple(found)

    def _differs(self, step: Step, then: Record, seen: Collection[str]) -> bool:
        """Whether a step's result is another now, and nothing was told of it yet."""
        now = self.identities.outputs.get(step.name)
        return step.name not in seen and now is not None and dict(now) != dict(then.outputs)

    def _cause(self, step: Step, change: Change, way: _Way | None) -> Cause:
        return Cause(
            code="changed",
            step=step.name,
            part=change.name,
            text=words(change, self.identities.store, places_of(step)),
            through=_names(way),
        )

    def _behind(self, step: Step, change: Change, record: Record) -> list[tuple[Step, Record]]:
        """The steps whose new results make this part differ, each with its earlier result."""
        if change.before is None or change.after is None or change.after.step is None:
            return []
        found = []
        for need in step.needs:
            if need.role != change.role:
                continue
            for name, output in ((s.step, s.output) for s in need.outputs):
                now = self.identities.outputs.get(name)
                then = self._result_then(self.plan.steps[name], output, change.before, record)
                if now is None or then is None:
                    continue
                if _digest(then.outputs, output) != _digest(now, output):
                    found.append((self.plan.steps[name], then))
        return found

    def _result_then(self, step: Step, output: str, before: Part, reader: Record) -> Record | None:
        """The result of `step` that the reader's earlier result was made from."""
        recall = self.history.store.recall
        before_all = before.value.partition("/")[0]  # of which the reader may want a part
        if step.work.in_place:
            return recall([before_all]).get(before_all)  # its identity was its key
        entry = self.history.entry(reader.run, step.name)
        if entry is not None and entry["key"]:
            return recall([entry["key"]]).get(entry["key"])
        results = self.history.results(step.name)
        return next((r for r in results if _digest(r.outputs, output) == before_all), None)


def _itself(step: Step, change: Change) -> Step:
    return step


def _unexplained(step: Step, way: _Way | None) -> Cause:
    """The same key, and another result."""
    text = "made again, it came out different" if way else UNRECORDED
    return Cause(code="changed", step=step.name, part="", text=text, through=_names(way))


def _names(way: _Way | None) -> tuple[str, ...]:
    found = []
    while way is not None:
        found.append(way.label)
        way = way.before
    return tuple(reversed(found))


def _digest(outputs: Mapping[str, Identity], output: str) -> str:
    found = outputs.get(output)
    return found.digest if found else ""


def _label(change: Change, step: Step) -> str:
    """How a reader calls what it needs: `image science`, `wheel own`, `input table of prep`."""
    if step.work.kind == "task":
        return f"{change.name} of {step.name}"
    if change.name.startswith("copy "):
        return step.name  # where it is copied to says less
    if change.name.endswith(f" {step.subject}"):
        return change.name
    return f"{change.name} {step.subject}"


def known_identities(
    plan: Plan, keys: Mapping[str, str], records: Mapping[str, Record], history: History
) -> Identities:
    """The identities of all results that a forecast could tell, by its `keys`."""
    identities = Identities(history.store, plan.steps)
    for name, step in plan.steps.items():
        key = keys.get(name)
        if not key:
            continue
        if step.work.in_place:
            place = Identity(digest=key, kind="place")
            identities.outputs[name] = dict.fromkeys(step.outputs, place)
        elif key in records and not step.always:
            identities.outputs[name] = records[key].outputs
    return identities
