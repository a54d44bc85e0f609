"""Ask the build backend of a project before anything is locked or built."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.digests import digest
from coopery.errors import Problem, RecipeError, StepError
from coopery.writing import write_atomically

if TYPE_CHECKING:
    from coopery_wheels.building import Bench
    from coopery_wheels.metadata import Tree
    from coopery_wheels.work import Origin

_RACY = 100_000_000
"""Nanoseconds within which two changes of a file may leave the same times."""


def prepared(
    tree: Tree, files: tuple[str, ...], python: str, home: Path, origin: Origin | None
) -> str:
    """The METADATA that the backend prepares, kept in the home folder by content.

    Raises RecipeError (`metadata-failed`, `build-requires`) and MachineError (`python-missing`).
    """
    from coopery_wheels import trees

    shelf = home / "metadata"
    state = trees.vcs_state(tree.root) if tree.versioned else None
    note = shelf / f"{digest([str(tree.root), python])}.seen"
    stamp, latest = trees.stat_digest(tree.root, files)
    stamp = digest([stamp, state, python])
    seen = note.read_text().split() if note.exists() else []
    if seen and seen[0] == stamp:
        name = seen[1]
    else:
        began = time.time_ns()
        name = digest([trees.content_digest(tree.root, files), state, python, 1])
        shelf.mkdir(parents=True, exist_ok=True)
        if latest < began - _RACY:
            _write(note, f"{stamp} {name}")
    kept = shelf / f"{name}.metadata"
    try:
        return kept.read_text("utf-8", "replace")
    except FileNotFoundError:
        text = _prepare(tree, files, python, home, origin)
        _write(kept, text)
        return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def _prepare(
    tree: Tree, files: tuple[str, ...], python: str, home: Path, origin: Origin | None
) -> str:
    from coopery_wheels import building

    with _bench(tree, files, python, home, origin) as (place, bench):
        return building.prepare_metadata(place, bench)


def probe(
    tree: Tree, files: tuple[str, ...], python: str, home: Path, origin: Origin | None
) -> None:
    """See once that the backend is there and takes a project whose metadata is static.

    Nobody asks it for the metadata, so it would be found wanting only when the wheel is built:
    after the lock is written. Raises as `prepared` does.
    """
    named = {name: _text(tree.root / name) for name in ("pyproject.toml", "setup.py", "setup.cfg")}
    mark = home / "metadata" / f"{digest(['probe', 1, python, named])}.probed"
    if mark.exists():
        return
    from coopery_wheels import building  # and with it `build`, which takes long to import

    with _bench(tree, files, python, home, origin) as (place, bench):
        building.check_backend(place, bench)
    _write(mark, "")


def _text(path: Path) -> str | None:
    return path.read_text("utf-8", "replace") if path.is_file() else None


@contextlib.contextmanager
def _bench(
    tree: Tree, files: tuple[str, ...], python: str, home: Path, origin: Origin | None
) -> Iterator[tuple[Path, Bench]]:
    """A copy of the project, and where its backend may work on it; a failure is the recipe's."""
    from coopery_wheels import building, trees, work

    with _scratch(home) as scratch:
        base = scratch / "tree"
        place = trees.place_in(tree.root, base) if tree.versioned else base
        try:
            trees.copy_files(tree.root, files, place)
            if tree.versioned and trees.vcs_state(tree.root):
                trees.add_repository(tree.root, base)
            yield (
                place,
                building.Bench(
                    python=python,
                    home=home,
                    log=scratch / "log",
                    scratch=scratch,
                    cancelled=threading.Event(),
                    origin=origin or work.Origin(),
                ),
            )
        except StepError as error:
            raise _unprepared(tree, error.problems[0]) from error


def _unprepared(tree: Tree, told: Problem) -> RecipeError:
    """What a backend's failure says of the recipe; whoever knows it adds the place."""
    said = "\n    ".join(_without_frames(told.message).splitlines())
    if told.slug == "build-requires":
        slug, message = told.slug, f"{tree.file}: {said}"
    else:
        slug, message = "metadata-failed", f"{tree.file}: the metadata cannot be prepared: {said}"
    return RecipeError(Problem(slug=slug, message=message, hint=told.hint))


def _without_frames(text: str) -> str:
    """A log's words without the frames of tracebacks that lie in packages, not in the project."""
    kept: list[str] = []
    package = False
    for line in text.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            continue
        if line.startswith('  File "'):
            package = "site-packages" in line or "dist-packages" in line or "<frozen" in line
        elif not line.startswith("    "):
            package = False
        if not package:
            kept.append(line)
    return "\n".join(kept)


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder that is locked while it is in use: what a dead process left can be told by that."""
    import tempfile

    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="metadata-", dir=home) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)
