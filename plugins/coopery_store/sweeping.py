"""Eviction: what was used least recently goes until the home is within its budget.

Never what a living process uses (leases, locks), and never what was used within the set age. Bytes
that are the latest success of a recipe's step go last. A process that is killed here leaves a
whole home: each thing goes in one step (`coopery_store.leaving`), and the index forgets after.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coopery.elsewhere import Elsewhere
from coopery_store.evicting import Evictor
from coopery_store.home import machine_errors
from coopery_store.index import Index
from coopery_store.leases import Leases
from coopery_store.locks import held, try_lock
from coopery_store.options import Limits
from coopery_store.outside import Emptied, Outside
from coopery_store.stale import compact
from coopery_store.survey import Item, Survey, places, survey
from coopery_store.tidying import tidy
from coopery_store.uses import Uses

_QUARANTINE = 30 * 86400
"""Seconds that damaged things are kept for somebody to look at."""
_BATCH = 500
_EASE = 0.9
"""An automatic eviction goes on down to this part of the budget, so that not each run has one."""


@dataclass(kw_only=True)
class Swept:
    """What was evicted, or would be; sizes in bytes of disk."""

    before: int = 0
    after: int = 0
    budget: float | None = None
    evicted: Counter[str] = field(default_factory=Counter)
    """How many, by kind."""
    freed: int = 0
    in_use: int = 0
    """How many stayed since somebody uses them."""
    young: int = 0
    """How many stayed since they were used within the set age."""
    cleared: int = 0
    """Leftovers of dead processes."""
    compacted: int = 0
    """Bytes by which the journal became shorter."""
    outside: list[Emptied] = field(default_factory=list)
    """What went of what results keep outside the home."""

    @property
    def over(self) -> int:
        """By how many bytes the home is over its budget still."""
        return 0 if self.budget is None else max(0, int(self.after - self.budget))


class Sweeper:
    """Measures the home and keeps it within its limits."""

    def __init__(self, home: Path, index: Index, leases: Leases, uses: Uses) -> None:
        self._home = home
        self._index = index
        self._leases = leases
        self._uses = uses
        self._evictor = Evictor(home, leases, uses.last)

    def look(self) -> Survey:
        """What is in the home; sizes that were measured for it are kept."""
        with machine_errors(self._home):
            found = survey(self._home, self._uses.known())
            self._uses.sized(found.fresh)
        return found

    def outside(self, elsewhere: Elsewhere, found: Survey) -> Outside:
        """What results in place, as `found` in the home, keep outside of it."""
        by_key = {item.path.name: item for item in found.of("place")}
        with machine_errors(self._home):
            return Outside(elsewhere, self._evictor, by_key)

    def automatic(
        self, limits: Limits, elsewhere: Elsewhere | None = None, *, home: bool = True
    ) -> Swept | None:
        """Evict, unless somebody else does just now; with not `home`, only what is elsewhere."""
        descriptor = try_lock(self._home / "locks" / "gc")
        if descriptor is None:
            return None
        try:
            if home:
                return self._sweep(limits, elsewhere, ease=_EASE)
            swept = Swept()
            if elsewhere is not None:
                # A look around the whole home is not for every run that made something in place.
                found = Survey(items=list(places(self._home, self._uses.known(), {})))
                swept.outside = self.outside(elsewhere, found).sweep(limits, ease=_EASE)
            return swept
        finally:
            os.close(descriptor)

    def sweep(
        self, limits: Limits, elsewhere: Elsewhere | None = None, *, dry_run: bool = False
    ) -> Swept:
        """Evict down to the budget, waiting for whoever does so just now."""
        with machine_errors(self._home):
            if dry_run:
                return self._sweep(limits, elsewhere, dry_run=True)
            with held(self._home / "locks" / "gc", keep=True):
                return self._sweep(limits, elsewhere)

    def _sweep(
        self,
        limits: Limits,
        elsewhere: Elsewhere | None,
        *,
        ease: float = 1.0,
        dry_run: bool = False,
    ) -> Swept:
        swept = Swept(budget=limits.budget)
        if not dry_run:
            # Scratch folders are the next run's to take: strays are found by them.
            swept.cleared = len(tidy(self._home, self._leases, None))
        found = self.look()
        notes: frozenset[str] = frozenset()
        if elsewhere is not None:
            outside = self.outside(elsewhere, found)
            # A note is small, and what it is a note of is dear: it goes with that alone.
            notes = outside.noted
            swept.outside = outside.sweep(limits, ease=ease, dry_run=dry_run)
            if not dry_run and any(emptied.evicted for emptied in swept.outside):
                found = self.look()
        swept.before = swept.after = found.size
        target = None
        if limits.budget is not None and found.size > limits.budget:
            target = limits.budget * ease
        forgotten: list[str] = []
        try:
            for item, due in self._order(found, limits):
                if not due and (target is None or swept.after <= target):
                    continue
                if item.kind == "place" and item.path.name in notes:
                    continue
                if time.time() - item.used < limits.age:
                    swept.young += 1
                elif not self._evictor.evict(item, limits.age, dry_run=dry_run):
                    swept.in_use += 1
                else:
                    swept.evicted[item.kind] += 1
                    swept.freed += item.size
                    swept.after -= item.size
                    forgotten.append(item.name)
                if len(forgotten) >= _BATCH and not dry_run:
                    self._forget(forgotten)
                    forgotten.clear()
        finally:
            if not dry_run:
                self._forget(forgotten)
        if not dry_run:
            self._uses.forget(found.gone)
            if not self._index.in_memory:  # there may be no room to write the journal anew
                swept.compacted = compact(self._index, self._home)
            swept.after -= swept.compacted
            self._uses.note_measured(swept.after, time.time())
        return swept

    def _order(self, found: Survey, limits: Limits) -> Iterable[tuple[Item, bool]]:
        """All items in the order in which they should go, and whether they go in any case."""
        runs = sorted(found.of("run"), key=lambda item: item.path.name, reverse=True)
        surplus = {item.name for item in runs[limits.keep_runs :]}
        latest = self._latest()
        now = time.time()

        def rank(item: Item) -> tuple[int, float]:
            if item.kind == "quarantine":
                return 0, item.used
            return 1 + (item.name in latest), item.used

        for item in sorted(found.items, key=rank):
            old = item.kind == "quarantine" and now - item.used > _QUARANTINE
            yield item, old or item.name in surplus

    def _latest(self) -> set[str]:
        """The digests of outputs of the latest successes."""
        rows = self._index.select("SELECT keeps FROM latest")
        return {digest for (keeps,) in rows for digest in keeps.split()}

    def _forget(self, names: Sequence[str]) -> None:
        rows = [(name,) for name in names]
        self._index.apply([("DELETE FROM objects WHERE digest = ?", rows)])
        self._uses.forget(names)
