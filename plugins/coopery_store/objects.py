"""The objects: files and folders under their identity, moved in by rename and never changed."""

# Paths are bytes here, which pathlib does not know.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from coopery.errors import StepError, problem
from coopery.steps import Identity
from coopery.trees import (
    Entry,
    hash_file,
    link_outside,
    scan,
    special_file,
    tree_digest,
)
from coopery.writing import sync_path
from coopery_store import kernel
from coopery_store.copying import copy, remove
from coopery_store.entries import Change
from coopery_store.home import machine_errors
from coopery_store.index import Index
from coopery_store.intake import fingerprint_of, of_file, of_folder, settle_in
from coopery_store.leases import Leases
from coopery_store.leaving import restore, withdraw
from coopery_store.locks import held, lock_file
from coopery_store.scratch import Scratch
from coopery_store.stats import Stats
from coopery_store.uses import Uses

_FEW = 8  # files to be synced one by one; beyond, the whole file system in one call is quicker
_KEEP = "INSERT OR REPLACE INTO objects(digest, fingerprint) VALUES(?, ?)"


class _Taken:
    """What was seen of something while it was hashed."""

    def __init__(self, identity: Identity, fingerprint: str, files: int) -> None:
        self.identity = identity
        self.fingerprint = fingerprint
        self.files = files


class Objects:
    """`objects/ab/<digest>`. A fingerprint (sizes, times, inodes) tells whether to hash again."""

    def __init__(
        self,
        home: Path,
        index: Index,
        scratch: Scratch,
        stats: Stats,
        leases: Leases,
        uses: Uses,
    ) -> None:
        self._home = home
        self._index = index
        self._scratch = scratch
        self._leases = leases
        self._stats = stats
        self._uses = uses
        self._lock = threading.Lock()
        self._pending: dict[str, _Taken] = {}
        """Objects that are not known to be durable yet."""

    def path(self, digest: str) -> Path:
        """Where an object is, or would be."""
        return self._home / "objects" / digest[:2] / digest

    # -- in ---------------------------------------------------------------------------------------

    def put(self, path: Path) -> Identity:
        """See `coopery.steps.Store.put`.

        Raises StepError `output-changing` besides, when something still writes to it, and
        FileNotFoundError.
        """
        status = path.lstat()
        with machine_errors(self._home):
            if stat.S_ISLNK(status.st_mode):
                raise link_outside(path, os.fsencode(path.readlink()))
            if status.st_dev != self._home.stat().st_dev:
                path = self._own(path)
            try:
                settle_in(path)
            except PermissionError:
                path = self._own(path)  # another user's files, as a container may leave them
                settle_in(path)
            taken = self._look(path)
            self._leases.take([taken.identity.digest])
            with self._alone(taken.identity.digest):
                return self._enter(path, taken)

    def _alone(self, digest: str) -> AbstractContextManager[None]:
        """Hold off every other thread and process that would put or drop this object."""
        return held(object_lock(self._home, digest))

    def _enter(self, path: Path, taken: _Taken) -> Identity:
        """Move what was looked at to its place, unless it is there already."""
        target = self.path(taken.identity.digest)
        self._uses.note([taken.identity.digest])
        restore(target)
        if self._sound(taken.identity) is not None:
            self._discard(path)
            return taken.identity
        try:
            path.rename(target)
        except FileNotFoundError:  # somebody cleared away the folder
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        if fingerprint_of(target) != taken.fingerprint:
            self._discard(target)
            raise _changing(path)
        self._note(taken)
        self._uses.grew(taken.identity.size)
        return taken.identity

    def _own(self, path: Path) -> Path:
        """A copy on the home's file system that belongs to us; the original goes."""
        target = self._scratch.new("own") / "copy"
        copy(path, target)
        remove(path)
        return target

    def _look(self, path: Path) -> _Taken:
        """Hash something. The fingerprint is of before: whatever is written later shows."""
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            hashed = hash_file(path, follow=False)
            if not hashed.steady:
                raise _changing(path)
            size = hashed.stat.st_size
            identity = Identity(digest=hashed.digest, kind="file", size=size)
            return _Taken(identity, of_file(hashed.stat), 1)
        if not stat.S_ISDIR(status.st_mode):
            raise special_file(path, status.st_mode)
        entries = scan(path)
        digests: dict[bytes, str] = {}
        seen: list[Entry] = []
        top = os.fsencode(path)
        for entry in entries:
            if entry.kind == "f":
                hashed = hash_file(os.path.join(top, entry.name), follow=False)
                if not hashed.steady:
                    raise _changing(path / os.fsdecode(entry.name))
                digests[entry.name] = hashed.digest
                entry = entry._replace(stat=hashed.stat)
            seen.append(entry)
        digest = tree_digest(seen, digests)
        self._stats.note_listing(digest, seen, digests)
        size = sum(entry.stat.st_size for entry in seen if entry.kind == "f")
        identity = Identity(digest=digest, kind="folder", size=size)
        return _Taken(identity, of_folder(seen), len(seen))

    def _note(self, taken: _Taken) -> None:
        with self._lock:
            self._pending[taken.identity.digest] = taken

    # -- out --------------------------------------------------------------------------------------

    def find(self, identity: Identity) -> Path | None:
        """See `coopery.steps.Store.find`, for files and folders."""
        found = self._sound(identity)
        if found is None and self._leases.mine(identity.digest):
            # Another process may have them in its hands, only to find that they are leased.
            with machine_errors(self._home), self._alone(identity.digest):
                restore(self.path(identity.digest))
                found = self._sound(identity)
        if found is not None:
            self._uses.note([identity.digest])
        return found

    def _sound(self, identity: Identity) -> Path | None:
        """Where the bytes are, if they are there and undamaged."""
        digest = identity.digest
        path = self.path(digest)
        with machine_errors(self._home):
            try:
                fingerprint = fingerprint_of(path)
            except FileNotFoundError:
                return None
            if fingerprint is not None and fingerprint == self._known(digest):
                return path
            try:
                taken = self._look(path)
            except FileNotFoundError:
                return None
            except StepError:
                taken = None  # it holds what no object holds, or changes as it is read
            if taken is not None and taken.identity.digest == digest:
                self._note(taken)
                return path
            self._quarantine(path)
            return None

    def check(self, digest: str, *, quarantine: bool) -> int | None:
        """Read an object; its size, or None if it is not what it was: then it is set aside, or at
        least read again before anybody gets it. Raises FileNotFoundError when it has gone.
        """
        path = self.path(digest)
        try:
            taken = self._look(path)
        except StepError:
            taken = None
        if taken is not None and taken.identity.digest == digest:
            return taken.identity.size
        with self._alone(digest):
            if quarantine:
                self._quarantine(path)
            else:
                self._forget(digest)
        return None

    def have(self, digests: Sequence[str]) -> set[str]:
        """Which of these the store holds, by name alone."""
        return {digest for digest in digests if os.path.lexists(self.path(digest))}

    def _known(self, digest: str) -> str | None:
        with self._lock:
            pending = self._pending.get(digest)
        if pending is not None:
            return pending.fingerprint
        rows = self._index.select("SELECT fingerprint FROM objects WHERE digest = ?", (digest,))
        return rows[0][0] if rows else None

    def _quarantine(self, path: Path) -> None:
        with suppress(FileNotFoundError):  # another thread did
            path.rename(self._home / "quarantine" / f"{path.name}-{time.time_ns()}")
        self._forget(path.name)

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._pending.pop(digest, None)
        self._index.apply([("DELETE FROM objects WHERE digest = ?", [(digest,)])])

    def drop(self, identity: Identity) -> bool:
        """See `coopery.steps.Store.drop`, for files and folders."""
        digest = identity.digest
        with machine_errors(self._home), self._alone(digest):
            gone = withdraw(self.path(digest), lambda: self._needed(digest))
            if gone is None:
                return False
            self._forget(digest)
            remove(gone)
            return True

    def _needed(self, digest: str) -> bool:
        """Whether another run uses it, or a success keeps it.

        In this order: a run keeps what it made before its leases end.
        """
        if self._leases.elsewhere(digest):
            return True
        return bool(self._index.select("SELECT 1 FROM kept WHERE digest = ?", (digest,)))

    def _discard(self, path: Path) -> None:
        """Remove something; a folder vanishes from its place at once, then bit by bit."""
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            return
        trash = self._scratch.new("trash")
        with suppress(FileNotFoundError):  # another thread did
            path.rename(trash / "it")
        remove(trash)

    # -- durability -------------------------------------------------------------------------------

    def settle(self, *, all_of_it: bool = False) -> list[Change]:
        """Make every object put so far outlive a power cut; returns what the index is to note.

        With `all_of_it` the whole file system is synced: for results in place.
        """
        with self._lock:
            pending = dict(self._pending)
        if not pending and not all_of_it:
            return []
        with machine_errors(self._home):
            if all_of_it or sum(taken.files for taken in pending.values()) > _FEW:
                self._sync_all()
            else:
                for digest in pending:
                    self._sync(self.path(digest))
        with self._lock:
            for digest, taken in pending.items():
                if self._pending.get(digest) is taken:
                    del self._pending[digest]
        return [(_KEEP, [(digest, taken.fingerprint) for digest, taken in pending.items()])]

    def _sync_all(self) -> None:
        descriptor = os.open(self._home, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.sync_file_system(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, path: Path) -> None:
        try:
            if path.is_dir():
                for entry in scan(path):
                    if entry.kind != "l":
                        sync_path(path / os.fsdecode(entry.name))
            sync_path(path)
        except FileNotFoundError:
            return  # dropped since; its record stays without bytes (semantics 4)
        sync_path(path.parent)


def object_lock(home: Path, digest: str) -> Path:
    """The lock on an object: who holds it puts it, takes it away, or puts it back."""
    return lock_file(home / "locks", f"object {digest}")


def _changing(path: Path) -> StepError:
    hint = "the task must end all its processes before it exits"
    return StepError(problem("output-changing", f"{path} is still being written to", hint=hint))
