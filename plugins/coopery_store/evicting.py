"""Taking one thing out of the home: each kind under the lock that guards it, never one in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coopery.elsewhere import Kept
from coopery_store.copying import remove
from coopery_store.home import safe_name
from coopery_store.leases import Leases
from coopery_store.leaving import withdraw
from coopery_store.locks import held, is_held
from coopery_store.objects import object_lock
from coopery_store.places import MARK, place_lock
from coopery_store.survey import Item
from coopery_store.tidying import hold_shelf


class Evictor:
    """`last` says when something was last used, by its name; the latest word on that."""

    def __init__(self, home: Path, leases: Leases, last: Callable[[str], float]) -> None:
        self._home = home
        self._leases = leases
        self._last = last

    def evict(self, item: Item, age: float, *, dry_run: bool = False) -> bool:
        """Take it away, for good; False if somebody uses it, or did within `age` seconds."""
        match item.kind:
            case "object":
                lock = object_lock(self._home, item.path.name)
                return self._take(item, lock, age, dry_run=dry_run)
            case "place":
                lock = place_lock(self._home, item.path.name)
                return self._take(item, lock, age, dry_run=dry_run)
            case "build-env" | "git" | "bundle":
                return _evict_shelved(item, age, dry_run=dry_run)
            case "run":
                return _evict_run(item, dry_run=dry_run)
            case _:
                if not dry_run:
                    remove(item.path)
                return True

    def evict_kept(
        self,
        kept: Kept,
        place: Item | None,
        age: float,
        let_go: Callable[[], bool],
        *,
        dry_run: bool = False,
    ) -> bool:
        """Take away what is kept outside the home, and its note in `place`; False if it is used.

        Under the lock of its place, so that nobody makes it anew meanwhile.
        """
        name = safe_name(kept.key)
        lock = place_lock(self._home, name)
        if place is not None and not kept.spare:
            return self._take(place, lock, age, let_go, dry_run=dry_run)
        if dry_run:
            return not self._is_leased(kept.key)
        with held(lock):
            made = place is None and (self._home / "places" / name).exists()
            return not made and not self._is_leased(kept.key) and let_go()

    def _is_leased(self, name: str) -> bool:
        return self._leases.mine(name) or self._leases.elsewhere(name)

    def _take(
        self,
        item: Item,
        lock: Path,
        age: float,
        let_go: Callable[[], bool] = lambda: True,
        *,
        dry_run: bool,
    ) -> bool:
        name = item.path.name

        def needed() -> bool:
            return self._is_leased(name)

        if dry_run:
            return not needed()
        with held(lock):
            # By a run that has ended since the look around.
            if time.time() - self._last(item.name) < age or _is_new(item, age):
                return False
            gone = withdraw(item.path, needed, let_go)
            if gone is None:
                return False
            if item.kind == "place":
                item.path.with_name(f"{name}{MARK}").unlink(missing_ok=True)
        remove(gone)
        return True


def _is_new(item: Item, age: float) -> bool:
    """Whether it was made anew since."""
    try:
        return time.time() - item.path.lstat().st_ctime < age
    except FileNotFoundError:
        return False


def _evict_shelved(item: Item, age: float, *, dry_run: bool) -> bool:
    with hold_shelf(item.path) as free:
        if not free:
            return False
        with suppress(FileNotFoundError):
            if time.time() - (item.path / "complete").stat().st_mtime < age:
                return False
        if dry_run:
            return True
        gone = withdraw(item.path)
    remove(gone or item.path)
    return True


def _evict_run(item: Item, *, dry_run: bool) -> bool:
    """A run that lives holds its lock; one that begins has no record before it does."""
    begins = not (item.path / "record.json").exists() and time.time() - item.used < 3600
    if begins or is_held(item.path / "lock"):
        return False
    if not dry_run:
        remove(withdraw(item.path) or item.path)
    return True
