"""A recipe without its project: the tables of chosen tasks, as a bundle holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from coopery.credentials import is_credential_file
from coopery.errors import KeyPath, Problem, RecipeError, problem
from coopery.images import Base
from coopery.marks import rest
from coopery.recipes import located
from coopery.shapes import fields_of
from coopery.steps import FileSource

if TYPE_CHECKING:
    from coopery.expanding import Nodes
    from coopery.model import Image, Recipe, Task
    from coopery.plugins import Plugins

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FrozenTasks:
    """Tasks as tables of a recipe; the `files` that these name, and the project's that they read.

    `inputs` are by their path relative to the recipe.
    """

    tables: Mapping[str, Table]
    files: Mapping[str, bytes]
    inputs: Mapping[str, Path]


def freeze(recipe: Recipe, nodes: Nodes, names: Collection[str], plugins: Plugins) -> FrozenTasks:
    """The tables of tasks. Raises RecipeError with all that cannot be bundled."""
    tables: dict[str, Table] = {}
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for task in recipe.tasks.values():
        if task.name not in names:
            continue
        try:
            frozen = plugins.freeze_task(recipe, task)
            tables[task.name] = {**_table(task, plugins), **frozen.keys}
        except RecipeError as error:
            problems += error.problems
            continue
        files.update(frozen.files)
    inputs: dict[str, Path] = {}
    for node in nodes.values():
        if node.instance.task.name not in names:
            continue
        for name, bound in node.inputs.items():
            if bound.bind:
                message = "what is used where it is, is on this machine alone"
                key: KeyPath = ("task", node.instance.task.name, "inputs", name, "bind")
                hint = "leave `bind` out, and it goes into the bundle"
                problems.append(problem("not-publishable", message, key=key, hint=hint))
            elif isinstance(bound.source, FileSource):
                if bound.source.shown not in inputs:
                    key = ("task", node.instance.task.name, "inputs", name)
                    problems += _credentials(bound.source, key)
                inputs[bound.source.shown] = bound.source.path
    if problems:
        raise RecipeError(*(located(p, recipe.locate) for p in dict.fromkeys(problems)))
    return FrozenTasks(tables=tables, files=files, inputs=inputs)


def _table(task: Task, plugins: Plugins) -> Table:
    """A task's own keys and those of plugins, less what it runs."""
    table = {k: v for k, v in said(task).items() if k not in ("name", "facets")}
    others = list(task.facets)
    for facet in plugins.declare_facets():
        if facet.noun != "task" or facet.action or not isinstance(facet.type, type):
            continue
        for value in task.facets:
            if isinstance(value, facet.type):
                table[facet.key] = said(value)
                others.remove(value)
    if len(others) > 1:  # one is what it runs
        message = f"a plugin's key of the task {task.name!r} cannot be bundled"
        hint = "drop it; the plugin would have to declare it by a dataclass of its own"
        raise RecipeError(problem("not-publishable", message, key=("task", task.name), hint=hint))
    return table


def said(value: Any) -> Any:
    """A value as a recipe's table holds it: dataclasses by the keys that differ from defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _said_table(value)
    if isinstance(value, Mapping):
        return {str(k): said(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [said(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    return value


def _said_table(value: Any) -> Table:
    defaults = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default
        for f in dataclasses.fields(value)
    }
    table: Table = {}
    kind: type = type(value)
    for item in fields_of(kind):
        given = getattr(value, item.attribute)
        if given == defaults[item.attribute]:
            continue
        if rest in item.marks:
            table |= said(given)
        else:
            table[item.key] = said(given)
    return table


def image_table(image: Image, reference: str, base: Base, executable: str | None) -> Table:
    """An image as one to use as it is, with all that is known of it."""
    told = {
        "reference": reference,
        "platform": base.platform,
        "python": base.python,
        "executable": executable,
        "libc": base.libc or None,
    }
    table: Table = {"prebuilt": {k: v for k, v in told.items() if v}}
    if base.python:
        table["python"] = image.python or ".".join(base.python.split(".")[:2])
    if image.env:
        table["env"] = dict(image.env)
    if image.description:
        table["description"] = image.description
    return table


def _credentials(source: FileSource, key: tuple[str, ...]) -> Iterator[Problem]:
    """What looks like a secret is published by nobody, however it is named."""
    top = source.path
    names = [top.name] if top.is_file() else [file.name for file in top.rglob("*")]
    for name in names:
        if is_credential_file(name):
            what = source.shown if top.is_file() else f"{source.shown} holds {name}, which"
            message = f"{what} looks like credentials, and would be published"
            hint = "give it to the task as one of its `secrets`, or keep it out of its inputs"
            yield problem("credential-file", message, key=key, hint=hint)
            return
