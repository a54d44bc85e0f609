"""What `doctor` says of the home folder, and how it mends what is wrong there."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from coopery.errors import CooperyError
from coopery.findings import Finding
from coopery.options import Settings
from coopery.quantities import show_bytes
from coopery.writing import write_atomically
from coopery_store.copying import remove
from coopery_store.filesystems import look_at_file_system
from coopery_store.home import FOLDERS, VERSION, machine_errors
from coopery_store.leases import Leases
from coopery_store.options import read_limits
from coopery_store.runs import Runs
from coopery_store.scratch import Scratch
from coopery_store.store import HomeStore
from coopery_store.tidying import Leftover, find_leftovers, tidy

_NAMES = {
    "lock": "lock files",
    "run": "files of runs that were killed",
    "debris": "things half removed",
    "scratch": "scratch folders of dead runs",
    "strange": "things that do not belong among the locks",
}
_MEND = "coopery doctor --mend clears it away"
_HEADROOM = 1 << 30
_LATEST = 100
"""Runs whose records are looked at; `cache verify` reads all."""


def quick(home: Path) -> Iterable[Finding]:
    """Before a run, and where a dead one left something: clear it away; says nothing of it."""
    with machine_errors(home):
        scratch = Scratch(home)
        tidy(home, Leases(scratch), scratch)
    return ()


def thorough(home: Path, settings: Settings, *, mend: bool) -> Iterator[Finding]:
    """All of it."""
    with machine_errors(home):
        there = os.path.lexists(home / "version")
    if not there and not os.path.lexists(home):
        text = f"{home} is not there yet; the first run makes it"
        yield Finding(subject="home", state="ok", text=text)
        return
    if there and home.stat().st_uid == os.geteuid() and os.access(home, os.W_OK):
        yield from _layout(home, mend=mend)
        yield from _leftovers(home, mend=mend)
    try:
        store = HomeStore(home)  # which mends an index that cannot be read
    except CooperyError as error:
        said = error.problems[0]
        yield Finding(subject="home", state="error", text=said.message, hint=said.hint)
        return
    try:
        probe = store.scratch("probe")  # whether it can be written to
        yield Finding(subject="home", state="ok", text=f"{home} (layout {VERSION})")
        yield look_at_file_system(probe)
        yield from _budget(home, settings, store)
        yield from _records(home, mend=mend)
        yield from _quarantine(home, mend=mend)
    except CooperyError as error:
        said = error.problems[0]
        yield Finding(subject="home", state="error", text=said.message, hint=said.hint)
    finally:
        store.close()


def _layout(home: Path, *, mend: bool) -> Iterator[Finding]:
    """A version that can be read, and the folders that every home has."""
    version = home / "version"
    text = version.read_bytes()[:20].strip()
    if not text.isdigit():
        yield _mended(
            "home", "its file `version` is damaged", "coopery doctor --mend writes it anew", mend
        )
        if mend:
            write_atomically(version, f"{VERSION}\n".encode())
    wanted = [home / name for name in FOLDERS]
    wanted += [home / "objects" / f"{number:02x}" for number in range(256)]
    lacking = []
    for folder in wanted:
        status = folder.lstat() if os.path.lexists(folder) else None
        if status is None or not stat.S_ISDIR(status.st_mode):
            lacking.append(folder)
    if not lacking:
        return
    if mend:
        for folder in lacking:
            if os.path.lexists(folder):
                folder.rename(home / f"{folder.name}-{time.time_ns()}.damaged")
            folder.mkdir(parents=True, exist_ok=True)
    names = ", ".join(str(folder.relative_to(home)) for folder in lacking[:5])
    more = ", …" if len(lacking) > 5 else ""
    text_ = f"{names}{more}: gone, or no folder"
    yield _mended("home", text_, "coopery doctor --mend makes them anew", mend)


def _mended(subject: str, text: str, hint: str, mend: bool) -> Finding:
    """Something that is in the way unless it was mended just now."""
    return Finding(
        subject=subject,
        state="warning" if mend else "error",
        text=text,
        hint=None if mend else hint,
        mended=mend,
    )


def _leftovers(home: Path, *, mend: bool) -> Iterator[Finding]:
    """What dead processes left. Processes among them are another plugin's concern, which was asked
    before: once the scratch folders are gone, they cannot be found.
    """
    found: list[Leftover] = list(find_leftovers(home))
    why = ""
    if mend:
        scratch = Scratch(home)
        try:
            tidy(home, Leases(scratch), scratch)
        except OSError as error:
            why = f" ({error.strerror or error})"
    # Whether it is gone is looked at, not believed.
    still = set(find_leftovers(home)) if mend else set()
    stuck = [leftover for leftover in found if leftover in still]
    for leftover in found:
        if leftover.kind == "strange" and leftover not in stuck:
            text = f"{leftover.path.relative_to(home)} is no lock file"
            yield _mended("locks", text, "coopery doctor --mend sets it aside", mend)
    gone = [one for one in found if one.kind != "strange" and one not in stuck]
    for kind, number in sorted(Counter(leftover.kind for leftover in gone).items()):
        text = f"{number} {_NAMES[kind]}"
        yield Finding(
            subject="leftovers",
            state="warning",
            text=f"cleared away {text}" if mend else text,
            hint=None if mend else _MEND,
            mended=mend,
        )
    for kind, number in sorted(Counter(leftover.kind for leftover in stuck).items()):
        first = next(leftover.path for leftover in stuck if leftover.kind == kind)
        yield Finding(
            subject="leftovers",
            state="warning",
            text=f"{number} {_NAMES[kind]} could not be cleared away{why}, such as {first}",
            hint="it is in use, or holds what is somebody else's: look with ls -lR, and remove it "
            "as its owner or as root",
        )
    if not found:
        yield Finding(subject="leftovers", state="ok", text="nothing of dead runs")


def _budget(home: Path, settings: Settings, store: HomeStore) -> Iterator[Finding]:
    size = store.sweeper.look().size
    budget = read_limits(settings, home).budget
    shown = "no budget" if budget is None else f"of {show_bytes(budget)}"
    over = budget is not None and size > budget
    yield Finding(
        subject="budget",
        state="warning" if over else "ok",
        text=f"{show_bytes(size)} {shown}" + (": over the budget" if over else ""),
        hint="coopery cache gc evicts what was used least recently" if over else None,
    )
    status = os.statvfs(home)
    free = status.f_bavail * status.f_frsize
    if free < min(_HEADROOM, status.f_blocks * status.f_frsize // 10):
        text = f"{show_bytes(free)} are free on the disk that the home folder is on"
        hint = "make room there, evict with coopery cache gc --budget SIZE, or move the home"
        yield Finding(subject="disk", state="warning" if free else "error", text=text, hint=hint)
    else:
        yield Finding(subject="disk", state="ok", text=f"{show_bytes(free)} free")


def _records(home: Path, *, mend: bool) -> Iterator[Finding]:
    """Of the latest runs: of those people want to know."""
    from coopery_store.checking import read_record, set_run_aside

    runs = Runs(home)
    latest = runs.ids()[:_LATEST]
    bad = [run for run in latest if read_record(runs, run)[0] is not None]
    if not bad:
        yield Finding(subject="records", state="ok", text=f"those of {len(latest)} runs are whole")
        return
    if mend:
        for run in bad:
            set_run_aside(home, run)
    names = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
    yield Finding(
        subject="records",
        state="warning",
        text=f"{'set aside ' if mend else ''}the damaged records of runs {names}",
        hint=None if mend else "coopery doctor --mend sets them aside; no result is lost",
        mended=mend,
    )


def _quarantine(home: Path, *, mend: bool) -> Iterator[Finding]:
    """Damaged things that were set aside."""
    entries = list((home / "quarantine").iterdir())
    if not entries:
        yield Finding(subject="quarantine", state="ok", text="empty")
        return
    if mend:
        for path in entries:
            remove(path)
    text = f"{len(entries)} damaged things were set aside"
    hint = "they are of no use to coopery; coopery doctor --mend removes them"
    yield Finding(
        subject="quarantine",
        state="warning",
        text=f"{text}, and removed now" if mend else text,
        hint=None if mend else hint,
        mended=mend,
    )
