"""What there is to choose from: tasks, instances, channels, runs, and other names.

A recipe that cannot be read has nothing to offer, or what could be read of it: this is not the
moment to say what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from coopery.errors import CooperyError

if TYPE_CHECKING:
    from coopery.model import Recipe, Task
    from coopery.options import Settings
    from coopery.plugins import Plugins
    from coopery.steps import Store

MANY = 100
"""More instances than this are offered only once their task is typed, with an `@`."""

MOST = 1000
"""More candidates than this help nobody."""

RUNS = 20
"""How many runs are offered, the latest."""


class Candidate(NamedTuple):
    """A word that may stand at the cursor, and what is told of it beside it."""

    text: str
    told: str = ""


@dataclass(frozen=True)
class Sources:
    """What the candidates are taken from, read when first asked for.

    `options` and `given` are what stands on the command line before the cursor.
    """

    plugins: Plugins
    options: Mapping[str, str] = field(default_factory=dict)
    given: tuple[str, ...] = ()

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe that `-f` names, or the nearest, as far as it can be read."""
        from pathlib import Path

        from coopery import recipes

        try:
            file = recipes.find(Path.cwd(), self.options.get("file"), self.plugins.recipe_names())
            return recipes.read(file, self.plugins)
        except CooperyError as error:
            return getattr(error, "partial", None)

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks of the recipe."""
        return tuple(self.recipe.tasks.values()) if self.recipe else ()

    @cached_property
    def settings(self) -> Settings:
        """The settings, with the home folder that `--home` names."""
        import argparse

        from coopery.options import CoreOptions, read_settings

        name = f"{CoreOptions.__name__}.home"
        namespace = argparse.Namespace(**{name: self.options.get(name)})
        return read_settings(self.plugins.declare_options(), namespace)


def tasks(sources: Sources, word: str) -> list[Candidate]:
    """Tasks and their instances, in the spelling that the word has begun."""
    name, at, _ = word.partition("@")
    opened, bracket, _ = word.partition("[")
    if at or bracket:
        named = [t for t in sources.tasks if t.name == (name if at else opened)]
        return [Candidate(text) for task in named for text in _instances(task, bracket)]
    found = []
    fitting = [task for task in sources.tasks if task.name.startswith(word)]
    few = sum(map(_size, fitting)) <= MANY
    for task in fitting:
        found.append(Candidate(task.name, _told(task)))
        if task.matrix and (few or len(fitting) == 1):
            found += [Candidate(text) for text in _instances(task, "")]
    return found


def _size(task: Task) -> int:
    size = 1
    for values in task.matrix.values():
        size *= len(values)
    return size


def _told(task: Task) -> str:
    lines = (task.description or "").strip().splitlines()
    return lines[0].strip().replace("\t", " ") if lines else ""


def _instances(task: Task, bracket: str) -> Iterator[str]:
    from coopery.model import Instance, iterate_matrix

    for coords in islice(iterate_matrix(task.matrix) if task.matrix else (), MOST):
        name = Instance(task=task, coords=coords).name
        yield f"{name.replace('@', '[', 1)}]" if bracket else name


def targets(sources: Sources, word: str) -> list[Candidate]:
    """Tasks and instances; once there is a `/`, the paths of outputs."""
    if "/" not in word:
        return tasks(sources, word)
    if sources.recipe is None:
        return []
    from coopery.expanding import expand

    nodes, _ = expand(sources.recipe)
    found = [
        Candidate(_shown(bound.destination, word), name)
        for name, node in nodes.items()
        for bound in node.outputs.values()
        if bound.destination
    ]
    return [candidate for candidate in found if candidate.text.startswith(word)][:MOST]


def _shown(path: os.PathLike[str], word: str) -> str:
    """A path as the word has begun to spell it: whole, from here, or from here with a dot."""
    if word.startswith("/"):
        return os.fspath(path)
    return ("./" if word.startswith("./") else "") + os.path.relpath(path)


def channels(sources: Sources, word: str) -> list[Candidate]:
    """`TASK.OUTPUT` of all tasks, or of the instance that the word has begun to name."""
    if "@" in word or "[" in word:
        # Coordinates may hold dots, and so may the word: each instance is tried.
        name = word.partition("@")[0].partition("[")[0]
        return [
            Candidate(f"{text}.{output}")
            for task in sources.tasks
            if task.name == name
            for text in _instances(task, "[" if "[" in word else "")
            for output in task.outputs
        ]
    return [
        Candidate(f"{task.name}.{output}", _told(task))
        for task in sources.tasks
        for output in task.outputs
    ]


def parameters(sources: Sources, word: str) -> list[Candidate]:
    """`TASK.PARAM=` of all tasks."""
    return [
        Candidate(f"{task.name}.{name}=", f"now {value!r}")
        for task in sources.tasks
        for name, value in task.params.items()
    ]


def images(sources: Sources, word: str) -> list[Candidate]:
    """The images of the recipe."""
    found = sources.recipe.images.values() if sources.recipe else ()
    return [Candidate(image.name, image.description or "") for image in found]


def runs(sources: Sources, word: str) -> list[Candidate]:
    """The latest runs, and run files; for `stop`, see `living`."""
    return [*_of_store(sources, lambda store: store.runs()[:RUNS]), *run_files(word)]


def living(sources: Sources, word: str) -> list[Candidate]:
    """The runs under way, and run files."""
    return [*_of_store(sources, lambda store: store.living()), *run_files(word)]


def run_files(word: str) -> list[Candidate]:
    """The run files in the folder that the word has come to; once it has a `/`, folders too."""
    from pathlib import Path

    from coopery.run_files import is_run_file

    folder, slash, begun = word.rpartition("/")
    try:
        paths = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())
    except (OSError, RuntimeError):  # it is not there, or whose home that is nobody knows
        return []
    found = []
    looked = 0  # into files, which takes its time
    for path in paths:
        if not path.name.startswith(begun) or (path.name.startswith(".") and not begun):
            continue
        if slash and path.is_dir():
            found.append(Candidate(f"{folder}/{path.name}/"))
        elif path.suffix == ".json" and (looked := looked + 1) <= MANY and is_run_file(str(path)):
            found.append(Candidate(f"{folder}{slash}{path.name}", "a run file"))
    return found[:MOST]


def logged(sources: Sources, word: str) -> list[Candidate]:
    """What `logs` takes: tasks, and where the word has begun as these do, runs and run files."""
    found = tasks(sources, word)
    if word[:1].isdigit():
        found += runs(sources, word)
    return found or run_files(word)


def _of_store(sources: Sources, ask: Callable[[Store], Sequence[str]]) -> list[Candidate]:
    try:
        home = sources.settings.home
        if not home.is_dir():
            return []  # to look must not make it
        store = sources.plugins.open_store(home, sources.settings)
        try:
            return [Candidate(run) for run in ask(store)]
        finally:
            store.close()
    except CooperyError:
        return []


def runtimes(sources: Sources, word: str) -> list[Candidate]:
    """The runtimes there are."""
    return [Candidate(name) for name in sources.plugins.runtime_names()]


def plugins(sources: Sources, word: str) -> list[Candidate]:
    """The plugins there are."""
    return [Candidate(name) for name, _ in sources.plugins.listing]


Look = Callable[[Sources, str], list[Candidate]]

KINDS: Mapping[str, Look | str] = {
    "TARGET": targets,
    "TASK": tasks,
    "TASK.OUTPUT": channels,
    "TASK.PARAM=VALUE": parameters,
    "IMAGE": images,
    "RUN": runs,
    "PLUGIN": plugins,
    "FILE": "files",
    "DEST": "files",
    "DIR": "folders",
    "CoreOptions.runtime": runtimes,
    "living_run": living,
    "tasks": logged,
}
"""By an argument's metavar, or its name: what it is chosen from, or `files`, `folders`."""
