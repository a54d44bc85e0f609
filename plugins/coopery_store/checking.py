"""Reading everything in the home and telling what is damaged; with repair, setting it aside."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from coopery.errors import CooperyError
from coopery.quantities import show_bytes
from coopery.records import whole
from coopery_store.index import Index
from coopery_store.leaving import is_debris
from coopery_store.locks import held
from coopery_store.objects import Objects
from coopery_store.places import MARK, measure, place_lock
from coopery_store.runs import Runs
from coopery_store.survey import DIGEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Something that is not what it should be. `kind`: object, place, index, journal, run."""

    kind: str
    what: str
    text: str
    mended: bool = False


@dataclass(kw_only=True)
class Check:
    """What was read (how many, by kind, and bytes), and what of it is damaged."""

    checked: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)


def read_record(runs: Runs, run: str) -> tuple[str | None, int]:
    """What is wrong with a run's record, if anything is, and how long it is in bytes."""
    try:
        document = runs.read(run)
        whole(run, document)
    except CooperyError as error:
        if any(p.slug == "run-format" for p in error.problems):
            return None, 0  # it is another version's, which reads it
        return error.problems[0].message.rpartition(": ")[2], 0
    return None, len(json.dumps(document))


def set_run_aside(home: Path, run: str) -> None:
    """Into quarantine, with its logs."""
    with suppress(FileNotFoundError):
        folder = home / "runs" / run
        folder.rename(home / "quarantine" / f"run-{folder.name}-{time.time_ns()}")


class Checker:
    """One check of a home. Anything may come and go meanwhile; what goes is not damaged."""

    def __init__(
        self,
        home: Path,
        index: Index,
        objects: Objects,
        runs: Runs,
        *,
        repair: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._home = home
        self._index = index
        self._objects = objects
        self._runs = runs
        self._repair = repair
        self._tell = tell
        self.found = Check()

    def run(self) -> Check:
        """Check everything."""
        self._check_memory()
        self._check_objects()
        self._check_places()
        self._check_runs()
        return self.found

    def _damage(
        self, kind: str, what: str, text: str, mend: Callable[[], object] | None = None
    ) -> None:
        if self._repair and mend is not None:
            mend()
        damage = Damage(kind=kind, what=what, text=text, mended=self._repair)
        self.found.damages.append(damage)

    def _set_aside(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.rename(self._home / "quarantine" / f"{path.name}-{time.time_ns()}")

    # -- the memory -------------------------------------------------------------------------------

    def _check_memory(self) -> None:
        state = self._index.check()
        self.found.checked["results"] += state.results
        self.found.bytes += state.bytes
        if state.damaged_lines:
            numbers = ", ".join(str(number) for number in state.damaged_lines[:10])
            more = ", …" if len(state.damaged_lines) > 10 else ""
            text = f"{len(state.damaged_lines)} lines cannot be read (line {numbers}{more})"
            self._damage("journal", "records/journal.jsonl", text, self._mend_journal)
        elif state.journal:
            self._damage("journal", "records/journal.jsonl", state.journal, self._mend_journal)
        if self._index.remade:
            text = "it could not be read and was made anew from the journal"
            self.found.damages.append(
                Damage(kind="index", what="index.sqlite", text=text, mended=True)
            )
        if state.index:
            self._damage("index", "index.sqlite", state.index, self._index.rebuild)

    def _mend_journal(self) -> None:
        """What the lines said the index knows, if anybody does; the file as it was is kept."""
        journal = self._home / "records" / "journal.jsonl"
        with suppress(FileNotFoundError):
            content = journal.read_bytes()
            (self._home / "quarantine" / f"journal-{time.time_ns()}.jsonl").write_bytes(content)
        self._index.restore_journal()

    # -- the bytes --------------------------------------------------------------------------------

    def _check_objects(self) -> None:
        paths = list(self._listed_objects())
        for number, path in enumerate(paths, 1):
            done = show_bytes(self.found.bytes)
            self._tell(f"checked {number} of {len(paths)} objects, {done}")
            if not DIGEST.fullmatch(path.name) or path.parent.name != path.name[:2]:
                text = "it does not belong there"
                self._damage("object", self._shown(path), text, partial(self._set_aside, path))
                continue
            try:
                size = self._objects.check(path.name, quarantine=self._repair)
            except FileNotFoundError:
                continue
            self.found.checked["objects"] += 1
            if size is None:
                self._damage("object", self._shown(path), "not what it was")
            else:
                self.found.bytes += size

    def _listed_objects(self) -> Iterator[Path]:
        for folder in sorted((self._home / "objects").iterdir()):
            if not folder.is_dir():
                yield folder
                continue
            yield from (path for path in sorted(folder.iterdir()) if not is_debris(path.name))

    def _check_places(self) -> None:
        folder = self._home / "places"
        for mark in sorted(folder.glob(f"*{MARK}")):
            path = mark.with_name(mark.name.removesuffix(MARK))
            self._tell(f"checking environment {path.name[:16]}")
            if not path.is_dir():
                continue  # nobody takes it for whole; the mark is made anew with the place
            files, size = measure(path)
            self.found.checked["environments"] += 1
            self.found.bytes += size
            said = mark.read_text("ascii", "replace").strip() if mark.exists() else ""
            if said.isdigit() and files < int(said):
                text = f"{int(said) - files} of its {said} files are gone"
                self._damage("place", self._shown(path), text, partial(self._unmark, mark, path))

    def _unmark(self, mark: Path, path: Path) -> None:
        """It is made anew in the same place; what uses it now goes on with what there is."""
        with held(place_lock(self._home, path.name)):
            mark.unlink(missing_ok=True)

    # -- the runs ---------------------------------------------------------------------------------

    def _check_runs(self) -> None:
        for run in self._runs.ids():
            self._tell(f"checking run {run}")
            folder = self._home / "runs" / run
            text, size = read_record(self._runs, run)
            if text is None:
                self.found.checked["runs"] += 1
                self.found.bytes += size
            elif folder.exists():
                self._damage(
                    "run", self._shown(folder), text, partial(set_run_aside, self._home, run)
                )

    def _shown(self, path: Path) -> str:
        return os.fspath(path.relative_to(self._home))
