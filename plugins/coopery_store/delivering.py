"""Outputs at their destinations in the project: put there whole, and never over others' work."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

from coopery.errors import StepError, problem
from coopery.steps import Identity
from coopery.trees import scan
from coopery.writing import sync_path
from coopery_store import kernel
from coopery_store.copying import copy, remove
from coopery_store.entries import delivery_text
from coopery_store.home import disk_full
from coopery_store.index import Index
from coopery_store.locks import held, lock_file
from coopery_store.objects import Objects
from coopery_store.stats import Stats, name_of

ABSENT = "absent"
EDITED = "edited"


class Deliveries:
    """Which digest was put where; the content of a destination decides, not its times."""

    def __init__(self, home: Path, index: Index, objects: Objects, stats: Stats) -> None:
        self._locks = home / "locks"
        self._index = index
        self._objects = objects
        self._stats = stats

    def deliverable(self, destinations: Sequence[Path]) -> dict[Path, str]:
        """See `coopery.steps.Store.deliverable`.

        Where a process was killed between putting and recording, this clears up behind it.
        """
        found, unrecorded = self._states(destinations)
        for path in unrecorded:
            stage = _stage(path)
            if os.path.lexists(stage):
                with self._alone(path):
                    remove(stage)
        return found

    def _states(self, destinations: Sequence[Path]) -> tuple[dict[Path, str], list[Path]]:
        """The state of each, and those that hold something of the store's but not on record."""
        found: dict[Path, str] = {}
        there: dict[Path, str] = {}
        try:
            for path, identity in self._stats.identify_many(destinations, follow=False).items():
                there[path] = identity.digest
        except StepError:
            # Something among them is no output of ours, by its kind: look at each alone.
            for path in destinations:
                try:
                    one = self._stats.identify_many([path], follow=False)
                except StepError:
                    found[path] = EDITED
                else:
                    there |= {path: identity.digest for path, identity in one.items()}
        ours = self._recorded(list(there))
        others = [digest for path, digest in there.items() if ours.get(path) != digest]
        # What the store holds is lost to nobody when it is overwritten, whoever put it there.
        kept = self._objects.have(others)
        for path in destinations:
            digest = there.get(path)
            if digest is None:
                found.setdefault(path, ABSENT)
            elif ours.get(path) == digest or digest in kept:
                found[path] = digest
            else:
                found[path] = ABSENT if _is_empty_folder(path) else EDITED
        return found, [path for path, digest in there.items() if digest in kept]

    def _recorded(self, paths: Sequence[Path]) -> dict[Path, str]:
        names = {name_of(path): path for path in paths}
        sql = "SELECT destination, digest FROM deliveries WHERE destination IN ({})"
        return {names[name]: digest for name, digest in self._index.select_in(sql, list(names))}

    def deliver(self, identity: Identity, destination: Path, *, overwrite: bool) -> None:
        """See `coopery.steps.Store.deliver`.

        Raises StepError besides: `lost-bytes`, and `unwritable` where the destination cannot be.
        """
        with self._alone(destination):
            state = self._states([destination])[0][destination]
            if state == EDITED and self._content(destination) == identity.digest:
                state = identity.digest
            if state == EDITED and not overwrite:
                raise _edited(destination)
            if state == identity.digest:
                remove(_stage(destination))
            else:
                source = self._objects.find(identity)
                if source is None:
                    message = f"the bytes for {destination} are not in the store any more"
                    hint = "run again: they are made anew"
                    raise StepError(problem("lost-bytes", message, hint=hint))
                _put(source, destination)
            if self._recorded([destination]).get(destination) != identity.digest:
                text = delivery_text(name_of(destination), identity.digest)
                self._index.append([text], durable=False)

    def _alone(self, destination: Path) -> AbstractContextManager[None]:
        """Nobody else delivers there meanwhile, so what is staged there is a dead process's."""
        return held(lock_file(self._locks, f"deliver {os.fsdecode(name_of(destination))}"))

    def _content(self, destination: Path) -> str | None:
        try:
            found = self._stats.identify_many([destination], follow=False)
        except StepError:
            return None
        return found[destination].digest if destination in found else None


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _edited(destination: Path) -> StepError:
    message = f"{destination} was not written by coopery, or was edited since"
    hint = "move it away, or let it be replaced with --overwrite"
    return StepError(problem("output-edited", message, hint=hint))


def _stage(destination: Path) -> Path:
    """Where a copy is made ready: one name for each destination, so that leftovers are known."""
    token = sha256(os.fsencode(destination.name)).hexdigest()[:16]
    return destination.with_name(f".coopery-{token}")


def _put(source: Path, destination: Path) -> None:
    """A durable copy beside the destination, then one rename; what was there before goes."""
    stage = _stage(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        remove(stage)
        try:
            copy(source, stage)
            _sync(stage)
            _swap(stage, destination)
        finally:
            remove(stage)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(destination) from error
        message = f"{destination} cannot be written: {error.strerror or error}"
        hint = "check who owns the folder it is in, and that no file is in the way"
        raise StepError(problem("unwritable", message, hint=hint)) from error


def _swap(stage: Path, destination: Path) -> None:
    """Put `stage` in the destination's place; what was there may be at `stage` afterwards."""
    if not os.path.lexists(destination) or not (_is_folder(stage) or _is_folder(destination)):
        stage.rename(destination)
    elif not kernel.exchange(os.fsencode(stage), os.fsencode(destination)):
        # Without the kernel's help there is a moment with nothing there: a second run mends that.
        remove(destination)
        stage.rename(destination)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _sync(path: Path) -> None:
    if not path.is_dir():
        sync_path(path)
        return
    entries = [entry for entry in scan(path) if entry.kind != "l"]
    if len(entries) > 8:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.sync_file_system(descriptor)
        finally:
            os.close(descriptor)
        return
    for entry in entries:
        sync_path(path / os.fsdecode(entry.name))
    sync_path(path)
