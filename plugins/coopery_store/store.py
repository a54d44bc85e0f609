"""The store as a whole: each verb, handed to the part whose concern it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import MachineError
from coopery.steps import Identity, Record, Reservation, RunLog, Success
from coopery_store import copying, entries
from coopery_store.delivering import Deliveries
from coopery_store.home import machine_errors, open_home
from coopery_store.index import Index
from coopery_store.leases import Leases
from coopery_store.ledger import Ledger
from coopery_store.locks import held, lock_file
from coopery_store.objects import Objects
from coopery_store.options import Limits
from coopery_store.places import Places
from coopery_store.runs import Runs
from coopery_store.scratch import Scratch
from coopery_store.stats import Stats
from coopery_store.uses import Uses

if TYPE_CHECKING:
    from coopery.elsewhere import Elsewhere
    from coopery_store.checking import Check
    from coopery_store.sweeping import Sweeper


class HomeStore:
    """`coopery.steps.Store` in a home folder; docs there hold here."""

    def __init__(self, home: Path, limits: Limits | None = None) -> None:
        """With `limits`, `tidy` keeps to them. A home that cannot be written to can be looked into.

        Raises MachineError (`home-unusable`, `home-newer`, `disk-full`).
        """
        self._unwritable = open_home(home.absolute())
        home = home.resolve()  # it may be a link to where there is room
        self._home = home
        self._index = self._open_index(home)
        self._scratch = Scratch(home)
        self._stats = Stats(self._index)
        self._leases = Leases(self._scratch)
        self._ledger = Ledger(home, self._scratch)
        self._uses = Uses(self._index)
        self._objects = Objects(
            home, self._index, self._scratch, self._stats, self._leases, self._uses
        )
        self._places = Places(home, self._leases, self._uses)
        self._deliveries = Deliveries(home, self._index, self._objects, self._stats)
        self._runs = Runs(home)
        self._limits = limits

    def _open_index(self, home: Path) -> Index:
        if self._unwritable is None:
            try:
                return Index(home)
            except MachineError as error:
                if error.problems[0].slug != "disk-full":
                    raise
                self._unwritable = error
        return Index(home, in_memory=True)

    def check_writable(self) -> None:
        """Raises MachineError (`home-unusable`, `disk-full`) for a home that can only be read."""
        if self._unwritable is not None:
            raise self._unwritable

    # -- the memory -------------------------------------------------------------------------------

    def recall(self, keys: Sequence[str]) -> Mapping[str, Record]:
        """See `coopery.steps.Store.recall`."""
        sql = f"SELECT {entries.COLUMNS} FROM results WHERE key IN ({{}})"
        return {r.key: r for r in entries.records(self._index.select_in(sql, list(keys)))}

    def remember(self, records: Sequence[Record], successes: Sequence[Success] = ()) -> None:
        """See `coopery.steps.Store.remember`: first the objects, then the journal and the index."""
        texts = [entries.record_text(record) for record in records]
        texts += [entries.success_text(success) for success in successes]
        unsettled = set(self._places.unsettled)
        settled = self._objects.settle(all_of_it=bool(unsettled))
        self._places.unsettled -= unsettled
        learnt = [*settled, *self._stats.changes(), *self._uses.changes()]
        self._index.append(texts, learnt, durable=bool(records))

    def latest(self, recipe: str) -> Mapping[str, Success]:
        """See `coopery.steps.Store.latest`."""
        rows = self._index.select(entries.LATEST, (os.fsencode(recipe),))
        return {row[1]: entries.success(row) for row in rows}

    def rebuild(self) -> None:
        """Make the index anew from the journal."""
        self._index.rebuild()

    # -- the bytes --------------------------------------------------------------------------------

    def put(self, path: Path) -> Identity:
        """See `coopery.steps.Store.put`."""
        return self._objects.put(path)

    def find(self, identity: Identity) -> Path | None:
        """See `coopery.steps.Store.find`."""
        if identity.kind == "place":
            return self._places.find(identity.digest)
        return self._objects.find(identity)

    def place(self, key: str) -> Path:
        """See `coopery.steps.Store.place`."""
        return self._places.place(key)

    def complete(self, key: str) -> None:
        """See `coopery.steps.Store.complete`."""
        self._places.complete(key)

    def lease(self, identities: Iterable[Identity]) -> None:
        """See `coopery.steps.Store.lease`."""
        if self._unwritable is not None:
            return  # what needs no other file than those that are there
        with machine_errors(self._home):
            self._leases.take(identity.digest for identity in identities)

    def drop(self, identity: Identity) -> bool:
        """See `coopery.steps.Store.drop`."""
        if identity.kind == "place":
            return self._places.drop(identity.digest)
        return self._objects.drop(identity)

    def claim(
        self,
        key: str,
        cancelled: threading.Event | None = None,
        *,
        run: str = "",
        waiting: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[None]:
        """See `coopery.steps.Store.claim`."""
        lock = lock_file(self._home / "locks", key)
        return held(lock, cancelled, holder=run, waiting=waiting)

    def reserve(
        self,
        step: str,
        amounts: Mapping[str, float],
        capacity: Mapping[str, float],
        *,
        run: str,
        priority: int,
    ) -> Reservation:
        """See `coopery.steps.Store.reserve`."""
        return self._ledger.reserve(step, amounts, capacity, run=run, priority=priority)

    def release(self, step: str, *, run: str, priority: int) -> None:
        """See `coopery.steps.Store.release`."""
        self._ledger.release(step, run=run, priority=priority)

    def scratch(self, name: str) -> Path:
        """See `coopery.steps.Store.scratch`."""
        return self._scratch.new(name)

    # -- the project ------------------------------------------------------------------------------

    def identify(self, path: Path) -> Identity:
        """See `coopery.steps.Store.identify`."""
        return self._stats.identify(path)

    def identify_many(self, paths: Sequence[Path]) -> Mapping[Path, Identity]:
        """See `coopery.steps.Store.identify_many`."""
        return self._stats.identify_many(paths)

    def identify_set(self, root: Path, files: Sequence[str]) -> Identity:
        """See `coopery.steps.Store.identify_set`."""
        return self._stats.identify_set(root, files)

    def listing(self, identity: Identity) -> Mapping[str, str] | None:
        """See `coopery.steps.Store.listing`."""
        return self._stats.listing(identity.digest)

    def copy(self, source: Path, target: Path) -> None:
        """See `coopery.steps.Store.copy`."""
        with machine_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            copying.copy(source, target)

    def deliver(self, identity: Identity, destination: Path, *, overwrite: bool) -> None:
        """See `coopery.steps.Store.deliver`."""
        self._deliveries.deliver(identity, destination, overwrite=overwrite)

    def deliverable(self, destinations: Sequence[Path]) -> Mapping[Path, str]:
        """See `coopery.steps.Store.deliverable`."""
        return self._deliveries.deliverable(destinations)

    # -- runs -------------------------------------------------------------------------------------

    def log_path(self, run: str, step: str) -> Path:
        """See `coopery.steps.Store.log_path`."""
        return self._runs.log_path(run, step)

    def begin_run(
        self, run: str, document: Mapping[str, Any], stop: Callable[[bool], None]
    ) -> RunLog:
        """See `coopery.steps.Store.begin_run`."""
        self.check_writable()
        with machine_errors(self._home):
            # By its lock file the next run sees, at a glance, that this one was killed.
            self._scratch.session()
        return self._runs.begin(run, document, stop)

    def stop_run(self, run: str, *, force: bool) -> bool:
        """See `coopery.steps.Store.stop_run`."""
        return self._runs.stop(run, force=force)

    def runs(self) -> Sequence[str]:
        """See `coopery.steps.Store.runs`."""
        return self._runs.ids()

    def living(self) -> Sequence[str]:
        """See `coopery.steps.Store.living`."""
        return self._runs.living()

    def read_run(self, run: str) -> Mapping[str, Any]:
        """See `coopery.steps.Store.read_run`."""
        return self._runs.read(run)

    @cached_property
    def sweeper(self) -> Sweeper:
        """What measures the home and evicts; most calls need none."""
        from coopery_store.sweeping import Sweeper

        return Sweeper(self._home, self._index, self._leases, self._uses)

    def check(self, *, repair: bool, tell: Callable[[str], None]) -> Check:
        """Read everything; `tell` hears how far it has come."""
        from coopery_store.checking import Checker

        self.check_writable()
        parts = self._home, self._index, self._objects, self._runs
        with machine_errors(self._home):
            return Checker(*parts, repair=repair, tell=tell).run()

    def tidy(self, elsewhere: Elsewhere | None = None) -> str:
        """See `coopery.steps.Store.tidy`."""
        if self._limits is None:
            return ""
        with machine_errors(self._home):
            due = self._uses.due(self._home, self._limits)
            if not due and (elsewhere is None or not self._places.made):
                return ""
            swept = self.sweeper.automatic(self._limits, elsewhere, home=due)
        if swept is None:
            return ""
        from coopery.quantities import show_bytes

        told = []
        if swept.freed:
            left = f", still {show_bytes(swept.over)} over it" if swept.over else ""
            size = show_bytes(swept.freed)
            told.append(f"evicted {size} from the home folder, to its budget{left}")
        for one in swept.outside:
            if one.evicted:
                kind = one.holding.kind.removesuffix("s" if one.evicted == 1 else "")
                what = f"{one.evicted} {kind}, {show_bytes(one.freed)}"
                told.append(f"evicted {what}, from {one.holding.where}")
        return "; ".join(told)

    def close(self) -> None:
        """See `coopery.steps.Store.close`."""
        self._index.apply([*self._objects.settle(), *self._stats.changes(), *self._uses.changes()])
        self._index.close()
        self._leases.close()
        self._scratch.close()
