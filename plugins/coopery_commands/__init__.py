"""Tasks that run a command: a list of items, or a string, which means `sh -c`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from coopery.errors import Problem, problem
from coopery.hooks import hookimpl
from coopery.recipes import Facet

if TYPE_CHECKING:
    from coopery.dependencies import Frozen, Invocation
    from coopery.model import Instance, Recipe, Task


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a task runs. `as_text` tells that it was written as one string."""

    items: tuple[str, ...]
    as_text: bool = False


_WRITE = 'write what to run: ["python", "-m", "mypackage"], or text for a shell'


def read_command(value: str | tuple[str, ...]) -> Command:
    """A list as it is; a string as `sh -c STRING`."""
    if isinstance(value, str):
        return Command(items=("sh", "-c", value), as_text=True)
    return Command(items=value)


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`command` of a task."""
    doc = "The command: a list of items; a string means `sh -c`."
    return [
        Facet(
            noun="task",
            key="command",
            type=str | tuple[str, ...],
            wrap=read_command,
            doc=doc,
            action=True,
        )
    ]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """Commands hold something, known placeholders, no undeclared file, and no credentials."""
    from coopery import credentials
    from coopery.expanding import check_text, placeholder_groups

    yield from credentials.found_in(lambda: _literals(recipe))
    for task in recipe.tasks.values():
        command = task.facet(Command)
        if command is None:
            continue
        key = ("task", task.name, "command")
        if not command.items or not command.items[-1 if command.as_text else 0].strip():
            yield problem("empty-command", "the command is empty", key=key, hint=_WRITE)
            continue
        problems: list[Problem] = []
        groups = placeholder_groups(task)
        for index, item in enumerate(command.items):
            where = key if command.as_text else (*key, index)
            if check_text(item, groups, where, problems) and not command.as_text:
                problems += _undeclared(recipe, task, item, where)
        yield from problems


def _literals(recipe: Recipe) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Every item with its key, under the name of the option before it: `--token`, `VALUE`."""
    from coopery import credentials

    for task in recipe.tasks.values():
        command = task.facet(Command)
        if command is None:
            continue
        key = ("task", task.name, "command")
        before = ""
        for index, item in enumerate(command.items):
            if len(item) >= credentials.SHORTEST:
                name = before.lstrip("-") if before[:1] == "-" and "=" not in before else ""
                yield (key if command.as_text else (*key, index)), name, item
            before = item


def _undeclared(
    recipe: Recipe, task: Task, item: str, key: tuple[str | int, ...]
) -> Iterable[Problem]:
    """A task does not run in the project: a project file it names would not be there."""
    path = PurePosixPath(item)
    if "{" in item or path.is_absolute() or item.startswith("-") or not path.suffix:
        return
    # Not Path.is_file, which raises for a script that is too long for a name.
    if ".." in path.parts or not os.path.isfile(recipe.root / path):  # noqa: PTH113
        return
    image = recipe.images.get(task.image or "")
    for facet in image.facets if image else ():
        for source in getattr(facet, "sources", ()):
            if _holds(str(getattr(source, "place", source)), path):
                return
    name = _channel(path)
    yield problem(
        "undeclared-file",
        f"{item!r} is a file of the project, but neither an input nor a source of the image",
        key=key,
        hint=f'declare inputs.{name} = "{item}" and write {{inputs.{name}}} instead',
    )


def _holds(source: str, path: PurePosixPath) -> bool:
    folder = PurePosixPath(source)
    return folder == path or folder in path.parents or source in (".", "./")


def _channel(path: PurePosixPath) -> str:
    name = "".join(c if c.isalnum() else "_" for c in path.stem)
    return name if name.isidentifier() else f"file_{name}"


@hookimpl(trylast=True)
def plan_task(recipe: Recipe, instance: Instance) -> Invocation | None:
    """The command, with matrix values and parameters filled in."""
    command = instance.task.facet(Command)
    if command is None:
        return None
    from coopery.dependencies import Invocation
    from coopery.planning import fill_command

    items = fill_command(command.items, instance)
    shown = items[-1] if command.as_text else " ".join(_quote(item) for item in items)
    return Invocation(command=items, shown=f"sh -c {_quote(shown)}" if command.as_text else shown)


@hookimpl(trylast=True)
def freeze_task(task: Task) -> Frozen | None:
    """The command as the recipe has it."""
    command = task.facet(Command)
    if command is None:
        return None
    from coopery.dependencies import Frozen

    return Frozen(keys={"command": command.items[-1] if command.as_text else list(command.items)})


def _quote(item: str) -> str:
    import shlex

    return item if "{" in item and " " not in item else shlex.quote(item)
