"""An image with a part more or less than before: compared as a whole, since its parts moved.

An image is parts that are built on each other. Where the first system package came, or the last
source went, a part that is there in both states stands on another one, and instructions may have
moved from one part to the next. So all parts between two that are alike are compared as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from coopery.images import ImageBuild
from coopery.keys import ORIGIN, Identities, parts_of
from coopery.planning import Plan
from coopery.reasons import Change, changes
from coopery.steps import Part, Record, Step

_NUMBER = re.compile(r"(instruction \S+) \d+")
_OF_A_PART = ("version", "outputs", "base", "origin")
"""What each part has for itself: its place among the others, and what it is to coopery."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What changed between `steps`, the first of which is in both states, and what it was before.

    `below` is the next part that is in both, with its earlier result.
    """

    steps: tuple[Step, ...]
    changes: tuple[Change, ...]
    below: tuple[Step, Record] | None

    def owner(self, change: Change) -> Step:
        """The step that needs what changed."""
        roles = {need.role: step for step in self.steps for need in step.needs}
        return roles.get(change.role, self.steps[0])


def crosses(step: Step, change: Change) -> bool:
    """Whether a part of an image stands on another part, or on the base instead of one."""
    was, now = change.before, change.after
    if not isinstance(step.work, ImageBuild) or was is None or now is None:
        return False
    based = change.role == "base" or ORIGIN in (was.name[: len(ORIGIN)], now.name[: len(ORIGIN)])
    return based and was.step != now.step


def cross(
    plan: Plan,
    step: Step,
    record: Record,
    identities: Identities,
    recall: Callable[[Sequence[str]], Mapping[str, Record]],
) -> Crossing:
    """Compare a part and those below it, down to one that is in both states, or the base."""
    new = _planned(plan, step)
    old = _recorded(record, recall)
    places = {name: number for number, (name, _) in enumerate(old)}
    end = next((n for n, part in enumerate(new) if n and part.name in places), len(new))
    common = new[end] if end < len(new) else None
    stop = places[common.name] if common is not None else len(old)
    with_base = common is None
    before = _pool([then.parts for _, then in old[: max(stop, 1)]], with_base=with_base)
    after = _pool([parts_of(part, identities) for part in new[:end]], with_base=with_base)
    return Crossing(
        steps=tuple(new[:end]),
        changes=tuple(changes(*_apart(before, after))),
        below=(common, old[stop][1]) if common is not None else None,
    )


def _planned(plan: Plan, step: Step) -> list[Step]:
    """A part, and all below it."""
    found = [step]
    while (before := _step_below(found[-1])) is not None:
        found.append(plan.steps[before])
    return found


def _step_below(step: Step) -> str | None:
    return next((name for need in step.needs if need.role == "base" for name in need.steps), None)


def _recorded(
    record: Record, recall: Callable[[Sequence[str]], Mapping[str, Record]]
) -> list[tuple[str, Record]]:
    """The same of an earlier result, by the names that the steps had."""
    found = [(record.step, record)]
    while True:
        parts = found[-1][1].parts
        base = next((part for part in parts if part.name == "base" and part.step), None)
        below = recall([base.value]).get(base.value) if base is not None else None
        if base is None or below is None:
            return found
        found.append((base.step or "", below))


def _pool(groups: Sequence[Sequence[Part]], *, with_base: bool) -> list[Part]:
    return [
        replace(part, name=_NUMBER.sub(r"\1", part.name))
        for parts in groups
        for part in parts
        if part.name not in _OF_A_PART and (with_base or not part.name.startswith(ORIGIN))
    ]


def _apart(before: Sequence[Part], after: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Both without what is in either, wherever it stands; instructions are numbered anew."""
    alike = Counter((p.name, p.value) for p in before) & Counter((p.name, p.value) for p in after)
    return _without(before, alike.copy()), _without(after, alike.copy())


def _without(parts: Sequence[Part], alike: Counter[tuple[str, str]]) -> list[Part]:
    found = []
    seen: Counter[str] = Counter()
    for part in parts:
        if alike[part.name, part.value]:
            alike[part.name, part.value] -= 1
            continue
        seen[part.name] += 1
        again = part.name.startswith("instruction ") and seen[part.name] > 1
        found.append(replace(part, name=f"{part.name} {seen[part.name]}") if again else part)
    return found
