"""`run --watch`: run again whenever a file changes that the plan read.

Each run is a process of its own, so that nothing of a recipe in Python stays from one to the next.
It tells what its plan read; this process looks at those files until one differs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from coopery.errors import CooperyError, Problem, RecipeError
from coopery_run.looking import PULSE, SLACK, Reads, Watched, several

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.planning import Plan

VARIABLE = "COOPERY_WATCHED_BY"
"""Tells a run that it is watched, and on which file descriptor to say what it read."""

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
        json.dump({**document, "own": reads.own, "written": reads.written}, pipe)


def _reads_of(plan: Plan, context: Context) -> Reads:
    from coopery.steps import FileSet, FileSource
    from coopery.tasks import TaskWork

    root = plan.recipe.root
    files = {str(plan.recipe.file), str(root / "pyproject.toml")}
    trees, folders, written = set[str](), set[str](), set[str]()
    for step in plan.steps.values():
        for need in step.needs:
            match need.source:
                case FileSource(path=path):
                    (trees if path.is_dir() else files).add(str(path))
                case FileSet(root=top, files=names):
                    files |= {f"{top}/{name}" for name in names}
                    inner = {parent for name in names for parent in Path(name).parents}
                    folders |= {str(top / parent) for parent in inner}
        if isinstance(step.work, TaskWork):
            written |= {os.path.realpath(path) for path in step.work.bound.outputs.values()}
            for name in map(os.path.realpath, step.work.bound.inputs.values()):
                (trees if os.path.isdir(name) else files).add(name)  # noqa: PTH112 - may not raise
    files |= set(_requirement_files(plan, context))
    if plan.recipe.file.suffix == ".py":
        files |= set(_modules_below(root))
    return Reads(
        files=tuple(sorted(files)),
        trees=tuple(sorted(trees)),
        folders=tuple(sorted(folders)),
        own=(str(plan.recipe.lock_file),),
        written=tuple(sorted(written)),
    )


def _requirement_files(plan: Plan, context: Context) -> Iterator[str]:
    """The files whose lines ask for packages: a requirement knows its place."""
    from coopery.options import LockPolicy
    from coopery.planning import dependency_sets

    images = tuple(plan.recipe.images)
    policy = LockPolicy.PREVIEW
    sets = dependency_sets(
        plan.recipe, images, plan.runtime, policy, context.plugins, context.settings
    )
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
    root, recipe = _root(context)
    files = Watched(root=root, recipe=recipe, home=context.settings.home, deaf=_outputs())
    with _Child() as child:
        while True:
            started = time.time_ns() - SLACK
            said = child.run()
            if child.told_to_end:
                return 130
            files.know(said)
            changed = files.changed_since(started)
            try:
                if changed:
                    time.sleep(PULSE)  # it may not be written to its end
                else:
                    context.tell(f"watching {files.describe()}; Ctrl-C ends")
                    changed = files.wait()
            except KeyboardInterrupt:
                return 130
            context.tell(f"changed: {several(changed)}")


def _root(context: Context) -> tuple[Path, Path | None]:
    """The folder to look at while the recipe is too wrong to say what it reads, and the recipe."""
    from coopery import recipes

    given = context.arguments.file
    try:
        found = recipes.find(Path.cwd(), given, context.plugins.recipe_names())
    except CooperyError:
        return (recipes.folder_of(Path.cwd(), given) if given else Path.cwd()), None
    return found.parent, found


def _outputs() -> frozenset[str]:
    """The files to which this process prints."""
    found = set()
    for number in (1, 2):
        with suppress(OSError):  # it is closed
            found.add(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
    return frozenset(found)


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
