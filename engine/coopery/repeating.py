"""The command line that makes tasks of a recipe, for those whom a run told of a failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import recipes, selecting
from coopery.errors import RecipeError
from coopery.opening import Opened, Request
from coopery.options import CoreOptions, Settings

if TYPE_CHECKING:
    from coopery.plugins import Plugins


@dataclass(frozen=True)
class Again:
    """Tells the command line that makes tasks of a recipe.

    What this one was told by flags and that concerns these tasks is told again; the recipe's file
    only where it is not the one that would be found anyway. Of the tasks, `selected` are those that
    this run may perform.
    """

    opened: Opened
    request: Request
    plugins: Plugins
    settings: Settings
    selected: frozenset[str]

    def __call__(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """The command line, in words; with none that is a task, that of all."""
        tasks = [name for name in tasks if name in self.opened.nodes]
        return ("coopery", "run", *self._flags(tasks), *tasks)

    def _flags(self, tasks: Sequence[str]) -> Iterator[str]:
        request, nodes = self.request, self.opened.nodes
        cwd = request.cwd or Path.cwd()
        if not _is_nearest(self.opened.recipe.file, cwd, self.plugins):
            yield from ("-f", self.opened.shown)
        for name in self.plugins.left_out:
            yield from ("--without", name)
        core = self.settings.get(CoreOptions)
        for name, value in (("home", core.home), ("runtime", core.runtime)):
            if self.settings.source(CoreOptions, name) == "flag":
                yield from (f"--{name}", str(value))
        behind = [nodes[name].instance.task for name in selecting.ancestors(nodes, tasks)]
        given = {secret.name for task in behind for secret in task.secrets.values()}
        yield from self._about_reading()
        for text in self.settings.from_flags("secret"):
            if text.partition("=")[0] in given:
                yield from ("--secret", text)
        if any(not self.selected.issuperset(nodes[t].parents) for t in self.selected & {*tasks}):
            yield "--only"  # else it would make what was not wanted before
        if request.sets or request.capacity:
            named = {task.name for task in behind}
            for text in request.sets:
                target = text.partition("=")[0].partition(".")[0]
                if self.opened.recipe.taken_sets is not None or target in named:
                    yield from ("--set", text)
            asked = {name for task in behind for name in task.resources.amounts}
            for text in request.capacity:
                if text.partition("=")[0] in asked:
                    yield from ("--capacity", text)
        if request.overwrite:
            yield "--overwrite"

    def _about_reading(self) -> Iterator[str]:
        """Flags of plugins that say how the recipe is read."""
        for kind, table in self.settings.values.items():
            for item in dataclasses.fields(kind):
                told = table.get(item.name)
                if item.name == "secret" or not item.metadata.get("reading"):
                    continue
                if told is None or told.source != "flag":
                    continue
                flag = item.name.replace("_", "-")
                match told.value:
                    case bool(wanted):
                        yield f"--{flag}" if wanted else f"--no-{flag}"
                    case tuple(values):
                        for value in values:
                            yield from (f"--{flag}", str(value))
                    case value:
                        yield from (f"--{flag}", str(value))


def _is_nearest(file: Path, cwd: Path, plugins: Plugins) -> bool:
    try:
        return recipes.find(cwd, None, plugins.recipe_names()) == file
    except RecipeError:
        return False  # several, or none: it must be named
