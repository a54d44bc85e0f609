"""Eviction of what results keep outside the home folder, such as images in an engine.

The same rules as for the home (`coopery_store.sweeping`), under a budget of its own: what was used
least recently goes, never what a living process leases, what was used within the set age, or what
something that stays is built upon. What no result is behind any more goes in any case. A process
that is killed here leaves a result whose note is gone, which the next sweep takes, or a note
whose result is gone, which is made anew when it is wanted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from coopery.elsewhere import Elsewhere, Holding, Kept
from coopery.errors import MachineError
from coopery_store.evicting import Evictor
from coopery_store.options import Limits
from coopery_store.survey import Item


@dataclass(kw_only=True)
class Emptied:
    """What went of one holding, or would; sizes in bytes."""

    holding: Holding
    budget: float | None
    before: int
    after: int
    evicted: int = 0
    in_use: int = 0
    young: int = 0
    unseen: str = ""
    """Why it could not be looked at, or not to the end."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return self.before - self.after

    @property
    def over(self) -> int:
        """By how many bytes it is over its budget still."""
        return 0 if self.budget is None else max(0, int(self.after - self.budget))


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Something kept, with its note's place in the home, if it has one, and its last use: its own,
    or a later one of what is built upon it.
    """

    kept: Kept
    place: Item | None
    used: float
    depth: int

    @property
    def due(self) -> bool:
        """Nobody's result goes in any case."""
        return self.kept.spare or self.place is None


class Outside:
    """Keeps one holding after the other within the budget."""

    def __init__(self, elsewhere: Elsewhere, evictor: Evictor, places: Mapping[str, Item]) -> None:
        """`places` are the results in place that are in the home, by key."""
        self._elsewhere = elsewhere
        self._evictor = evictor
        self._places = places
        self.holdings = tuple(elsewhere.weigh({key: item.path for key, item in places.items()}))

    @property
    def noted(self) -> frozenset[str]:
        """The keys of what is kept: their places in the home are notes, and go with it alone."""
        return frozenset(k.key for h in self.holdings for k in h.kept if not k.spare)

    def sweep(self, limits: Limits, *, ease: float = 1.0, dry_run: bool = False) -> list[Emptied]:
        """Evict down to the budget; an automatic eviction goes on to the part `ease` of it."""
        return [self._sweep(holding, limits, ease, dry_run=dry_run) for holding in self.holdings]

    def _sweep(self, holding: Holding, limits: Limits, ease: float, *, dry_run: bool) -> Emptied:
        size = sum(kept.size for kept in holding.kept)
        budget = limits.images(holding.room)
        found = Emptied(
            holding=holding, budget=budget, before=size, after=size, unseen=holding.unseen
        )
        if holding.unseen:
            return found
        target = budget * ease if budget is not None and size > budget else None
        upon = Counter(kept.on for kept in holding.kept if kept.on)
        for candidate in self._ordered(holding):
            kept = candidate.kept
            within = target is None or found.after <= target
            if not candidate.due and within and budget != 0:  # what weighs nothing is there too
                continue
            if not kept.spare and upon[kept.key]:
                continue  # as long as what is built upon it stays
            if not candidate.due and time.time() - candidate.used < limits.age:
                found.young += 1
                continue
            let_go = self._letting_go(holding.kind, kept, dry_run=dry_run)
            try:
                gone = self._evictor.evict_kept(
                    kept, candidate.place, limits.age, let_go, dry_run=dry_run
                )
            except MachineError as error:
                found.unseen = error.problems[0].message
                break
            if not gone:
                found.in_use += 1
                continue
            upon[kept.on] -= 1
            found.evicted += 1
            found.after -= kept.size
        return found

    def _letting_go(self, kind: str, kept: Kept, *, dry_run: bool) -> Callable[[], bool]:
        return lambda: dry_run or self._elsewhere.let_go(kind, kept)

    def _ordered(self, holding: Holding) -> list[_Candidate]:
        """In the order in which they should go: of no use first, what was built last before what
        it is built upon.
        """
        found = {
            number: _Candidate(
                kept=kept,
                place=self._places.get(kept.key),
                used=self._places[kept.key].used if kept.key in self._places else 0.0,
                depth=0,
            )
            for number, kept in enumerate(holding.kept)
        }
        whole = {c.kept.key: number for number, c in found.items() if not c.kept.spare}
        for candidate in list(found.values()):
            for depth, number in enumerate(_below(candidate.kept, holding, whole), start=1):
                under = found[number]
                # The further below others it is, the later it goes.
                found[number] = replace(
                    under, used=max(under.used, candidate.used), depth=max(under.depth, depth)
                )
        return sorted(found.values(), key=lambda c: (not c.due, c.used, c.depth))


def _below(kept: Kept, holding: Holding, whole: Mapping[str, int]) -> Iterator[int]:
    """What a thing is built upon, down to the base: their numbers."""
    seen = {kept.key}
    while kept.on in whole and kept.on not in seen:
        number = whole[kept.on]
        seen.add(kept.on)
        yield number
        kept = holding.kept[number]
