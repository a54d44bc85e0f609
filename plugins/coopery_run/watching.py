"""`run --watch`: run again whenever a file changes that the plan read.

Each run is a process of its own, so that nothing of a recipe in Python stays from one to the next.
It tells what its plan read; this process looks at those files until one differs. They are looked
at, rather than that the kernel is asked to tell of them: that works on every file system, needs no
package, and takes at most one part in `RESTRAINT` of one core.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from coopery.errors import CooperyError, Problem, RecipeError, visible

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.planning import Plan

VARIABLE = "COOPERY_WATCHED_BY"
"""Tells a run that it is watched, and on which file descriptor to say what it read."""

PULSE = 0.2
"""Seconds between two looks; what changed must be the same for as long before a run starts."""

RESTRAINT = 10
MANY = 20_000
"""No more files are looked at than these while it is not known which ones count."""

_SLACK = 10_000_000
"""Nanoseconds by which the time stamps of files may be behind the clock."""

Stat = tuple[int, ...] | tuple[str, ...] | None
"""A file's size, times, inode and mode; a folder's names; None for what is not there."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What a plan read: single `files`, whole `trees`, and `folders` where a new file counts.

    `own` are those that a run writes too.
    """

    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


# -- the run ------------------------------------------------------------------------------------


def watcher() -> int | None:
    """The descriptor on which the process that watches this run listens, if there is one."""
    given = os.environ.pop(VARIABLE, None)
    return int(given) if given is not None else None


def tell_reads(descriptor: int, plan: Plan, context: Context) -> None:
    """Say what the plan read."""
    reads = _reads_of(plan, context)
    document = {"files": reads.files, "trees": reads.trees, "folders": reads.folders}
    # Without a reader the watching process has died: then nobody wants to know.
    with suppress(BrokenPipeError), os.fdopen(descriptor, "w") as pipe:
        json.dump({**document, "own": reads.own}, pipe)


def _reads_of(plan: Plan, context: Context) -> Reads:
    from coopery.steps import FileSet, FileSource

    root = plan.recipe.root
    files = {str(plan.recipe.file), str(root / "pyproject.toml")}
    trees, folders = set[str](), set[str]()
    for step in plan.steps.values():
        for need in step.needs:
            match need.source:
                case FileSource(path=path):
                    (trees if path.is_dir() else files).add(str(path))
                case FileSet(root=top, files=names):
                    files |= {f"{top}/{name}" for name in names}
                    inner = {parent for name in names for parent in Path(name).parents}
                    folders |= {str(top / parent) for parent in inner}
    files |= set(_requirement_files(plan, context))
    if plan.recipe.file.suffix == ".py":
        files |= set(_modules_below(root))
    return Reads(
        files=tuple(sorted(files)),
        trees=tuple(sorted(trees)),
        folders=tuple(sorted(folders)),
        own=(str(plan.recipe.lock_file),),
    )


def _requirement_files(plan: Plan, context: Context) -> Iterator[str]:
    """The files whose lines ask for packages: a requirement knows its place."""
    from coopery.planning import dependency_sets

    images = tuple(plan.recipe.images)
    sets = dependency_sets(plan.recipe, images, context.plugins, context.settings)
    for requirement in (r for each in sets for r in each.requirements):
        if requirement.place.file is not None:
            yield str(plan.recipe.root / requirement.place.file)


def _modules_below(root: Path) -> Iterator[str]:
    """The modules that a recipe in Python has imported from its project."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(root):
            yield str(file)


# -- the watch ----------------------------------------------------------------------------------


def watch(context: Context) -> int:
    """Run, wait for a change, and run again, until Ctrl-C; 130 then.

    Raises RecipeError (`bad-command-line`) together with `--dry-run` or `--shell`.
    """
    if context.arguments.dry_run or context.arguments.shell:
        message = "--watch runs tasks, --dry-run and --shell do not"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="use one of them"))
    files = Watched(root=_root(context), home=context.settings.home)
    with _Child() as child:
        while True:
            started = time.time_ns() - _SLACK
            said = child.run()
            if child.told_to_end:
                return 130
            files.know(said)
            changed = files.changed_since(started)
            if changed:
                time.sleep(PULSE)  # it may not be written to its end
            else:
                context.tell(f"watching {files.describe()}; Ctrl-C ends")
                try:
                    changed = files.wait()
                except KeyboardInterrupt:
                    return 130
            context.tell(f"changed: {_several(changed)}")


def _root(context: Context) -> Path:
    """The folder to look at while the recipe is too wrong to say what it reads."""
    from coopery import recipes

    given = context.arguments.file
    try:
        return recipes.find(Path.cwd(), given, context.plugins.recipe_names()).parent
    except CooperyError:
        return recipes.folder_of(Path.cwd(), given) if given else Path.cwd()


def _several(paths: Iterable[str]) -> str:
    shown = [visible(os.path.relpath(path)) for path in sorted(paths)]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more}"


class _Child:
    """The process of one run after another, and what this process is told meanwhile.

    Ctrl-C reaches both, as they share a terminal: this one waits for the run, which reports.
    Other signals may have come here alone, and are handed on.
    """

    def __init__(self) -> None:
        self.told_to_end = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Child:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._told) for number in numbers}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.told_to_end = True
        if self._process is None:
            raise KeyboardInterrupt
        if number != signal.SIGINT:
            self._process.send_signal(number)

    def run(self) -> Reads | None:
        """Run to the end; what the plan read, or None when it did not come to a plan."""
        with _pipe() as (here, there):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "coopery", *sys.argv[1:]],
                env={**os.environ, VARIABLE: str(there.fileno())},
                pass_fds=[there.fileno()],
            )
            there.close()
            said = here.read()
            self._process.wait()
            self._process = None
        if not said:
            return None
        return Reads(**{name: tuple(paths) for name, paths in json.loads(said).items()})


@contextmanager
def _pipe() -> Iterator[tuple[Any, Any]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as here, os.fdopen(writing, "wb") as there:
        yield here, there


@dataclass
class Watched:
    """The files that count, and how they were when last looked at."""

    root: Path
    home: Path
    reads: Reads | None = None
    broken: bool = False
    _seen: Mapping[str, Stat] = field(default_factory=dict)

    def know(self, reads: Reads | None) -> None:
        """From now on these count. Without any, the recipe is wrong: then the project's all do."""
        self.broken = reads is None
        self.reads = reads or self.reads
        self._seen = self._look()

    def changed_since(self, moment: int) -> list[str]:
        """The files that changed after a moment (ns), so that the run may have missed it."""
        own = self.reads.own if self.reads else ()
        return [
            path
            for path, found in self._seen.items()
            if path not in own
            and found is not None
            and isinstance(found[0], int)
            and max(found[1:3]) > moment
        ]

    def describe(self) -> str:
        """How many files are looked at."""
        if self.broken:
            return f"{visible(str(self.root))} until the recipe can be read"
        count = sum(found is None or isinstance(found[0], int) for found in self._seen.values())
        return f"{count} files"

    def wait(self) -> list[str]:
        """Wait until something differs, and then until nothing more does; what it is."""
        while True:
            began = time.monotonic()
            found = self._look()
            if found != self._seen:
                break
            time.sleep(max(PULSE, RESTRAINT * (time.monotonic() - began)))
        while True:
            time.sleep(PULSE)
            again = self._look()
            if again == found:
                break
            found = again
        names = found.keys() | self._seen.keys()
        return [name for name in names if found.get(name) != self._seen.get(name)]

    def _look(self) -> Mapping[str, Stat]:
        found: dict[str, Stat] = {}
        if self.reads is not None:
            for path in (*self.reads.files, *self.reads.own):
                found[path] = _stat(path)
            for path in self.reads.folders:
                found[path] = _names(path)
            for path in self.reads.trees:
                found.update(_tree(path))
        if self.broken:
            found.update(_project(self.root, self.home))
        return found


def _stat(path: str) -> Stat:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)


def _names(path: str) -> Stat:
    """What is in a folder, without what tools leave behind."""
    try:
        names = os.listdir(path)  # noqa: PTH208
    except OSError:
        return None
    kept = (name for name in names if not name.startswith(".") and name != "__pycache__")
    return ("", *sorted(kept))


def _tree(top: str) -> Iterator[tuple[str, Stat]]:
    """Every file below a folder."""
    for folder, _, names in os.walk(top):
        for name in names:
            yield f"{folder}/{name}", _stat(f"{folder}/{name}")


def _project(root: Path, home: Path) -> Iterator[tuple[str, Stat]]:
    """The files below a project's folder, `MANY` at most; none that are hidden, nor the home's."""
    count = 0
    home = home.resolve()
    for folder, inner, names in os.walk(root):
        skipped = {"__pycache__", home.name if Path(folder) == home.parent else ""}
        inner[:] = [name for name in inner if not name.startswith(".") and name not in skipped]
        for name in names:
            yield f"{folder}/{name}", _stat(f"{folder}/{name}")
            count += 1
            if count == MANY:
                return
