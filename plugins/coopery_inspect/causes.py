"""Find what changed: from a result to the one before it, through the steps behind its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coopery.keys import Identities, differences, parts_of
from coopery.planning import Plan
from coopery.steps import Gathered, Identity, Need, Part, Record, Step, StepSource
from coopery_inspect.history import History

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

    def names(self) -> tuple[str, ...]:
        found = []
        way: _Way | None = self
        while way is not None:
            found.append(way.label)
            way = way.before
        return tuple(reversed(found))


class Search:
    """Compares steps of a plan with results of earlier runs."""

    def __init__(self, plan: Plan, identities: Identities, history: History) -> None:
        self.plan = plan
        self.identities = identities
        self.history = history

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
            deeper: list[tuple[Step, Record, _Way | None]] = []
            for before, after in self._changed(current, record):
                further = [] if after is None else self._behind(current, after, before, record)
                unseen = [(s, r) for s, r in further if s.name not in seen]
                if further:
                    # A step behind two inputs is told of once.
                    deeper += [(s, r, _Way(_label(after, s), way)) for s, r in unseen]
                    seen.update(s.name for s, _ in unseen)
                    continue
                found.append(self._cause(current, before, after, way))
            pending += reversed(deeper)
        if not found:
            text = "a part that is not recorded changed"
            found.append(Cause(code="changed", step=step.name, part="", text=text))
        return tuple(found)

    def _changed(self, step: Step, record: Record) -> list[tuple[Part | None, Part | None]]:
        before = {part.name: part for part in record.parts}
        after = {part.name: part for part in parts_of(step, self.identities)}
        pairs = [
            (before.get(name), after.get(name))
            for name in (*after, *(n for n in before if n not in after))
        ]
        pairs = [(o, n) for o, n in pairs if o is None or n is None or o.value != n.value]
        # The hashes of a package go with its version.
        moved = {(n or o).name for o, n in pairs if (n or o) is not None}  # type: ignore[union-attr]
        return [
            (o, n)
            for o, n in pairs
            if f"package {(n or o).name.removeprefix('hashes ')}" not in moved  # type: ignore[union-attr]
            or not (n or o).name.startswith("hashes ")  # type: ignore[union-attr]
        ]

    def _cause(
        self, step: Step, before: Part | None, after: Part | None, way: _Way | None
    ) -> Cause:
        words = differences(
            [before] if before else [], [after] if after else [], self.identities.store
        )
        part = after or before
        assert part is not None
        return Cause(
            code="changed",
            step=step.name,
            part=part.name,
            text="; ".join(words),
            through=way.names() if way else (),
        )

    def _behind(
        self, step: Step, part: Part, before: Part | None, record: Record
    ) -> list[tuple[Step, Record]]:
        """The steps whose new results make this part differ, each with its earlier result."""
        if part.step is None or before is None:
            return []
        found = []
        for need in step.needs:
            if need.role == part.name:
                for name, output in _sources(need):
                    behind = self.plan.steps[name]
                    old = self._result_then(behind, before, record)
                    if old is not None and self._differs(behind, old, output):
                        found.append((behind, old))
        return found

    def _result_then(self, step: Step, before: Part, reader: Record) -> Record | None:
        """The result of `step` that the reader's result was made from."""
        recall = self.history.store.recall
        if step.work.in_place and before.value in (found := recall([before.value])):
            return found[before.value]  # its identity was its key
        entry = self.history.entry(reader.run, step.name)
        if entry is None or not entry["key"]:
            return None
        return recall([entry["key"]]).get(entry["key"])

    def _differs(self, step: Step, old: Record, output: str) -> bool:
        now = self.identities.outputs.get(step.name)
        if now is None or not self.identities.known(step):
            return False
        return now[output].digest != _digest(old, output)


def _digest(record: Record, output: str) -> str:
    found = record.outputs.get(output)
    return found.digest if found else ""


def _sources(need: Need) -> Iterable[tuple[str, str]]:
    match need.source:
        case StepSource(step=step, output=output):
            return [(step, output)]
        case Gathered(parts=parts):
            return [(source.step, source.output) for _, source in parts]
        case _:
            return []


def _label(part: Part | None, step: Step) -> str:
    """How a reader calls what it needs: `image science`, `wheel penguins`, `input table of prep`."""
    assert part is not None
    if step.work.kind == "task":
        return f"{part.name} of {step.name}"
    return part.name if part.name.endswith(f" {step.subject}") else f"{part.name} {step.subject}"


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


__all__ = ["Cause", "Search", "Sequence", "known_identities"]
