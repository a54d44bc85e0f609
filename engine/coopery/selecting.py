"""Which task instances a command line means, and what hangs together with them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import Problem, RecipeError, nearest
from coopery.options import Selection
from coopery.recipes import settle

if TYPE_CHECKING:
    from coopery.expanding import Nodes
    from coopery.model import Recipe


def select(recipe: Recipe, nodes: Nodes, targets: Sequence[str], cwd: Path) -> tuple[str, ...]:
    """The instances that `targets` name, in recipe order; all when there are none.

    A target is a task, an instance (`fit@fold=0`, `fit[fold=0]`), a glob over these, or the path
    of an output. Raises RecipeError (`unknown-target`) with the nearest name.
    """
    if not targets:
        return tuple(nodes)
    chosen: set[str] = set()
    problems = []
    for target in targets:
        found = matching(target, nodes)
        if not found:
            found = _makers(cwd / target, nodes)
        if not found:
            known = {*recipe.tasks, *list(nodes)[:1000]}
            message = f"nothing is called {target!r}"
            hint = nearest(target, known)
            if os.path.isfile(cwd / target):  # noqa: PTH113 - Path.is_file may raise
                hint = f"a file that says what to run is named by -f: coopery run -f {target}"
            problems.append(Problem(slug="unknown-target", message=message, hint=hint))
        chosen.update(found)
    if problems:
        raise RecipeError(*problems)
    return tuple(name for name in nodes if name in chosen)


def _makers(path: Path, nodes: Nodes) -> list[str]:
    """The instance that delivers to a path, by whatever links either is named."""
    named = settle(path)
    return [
        name
        for name, node in nodes.items()
        for output in node.outputs.values()
        if (made := output.destination)
        and made.name == named.name
        and (made == named or settle(made) == named)
    ]


def matching(target: str, names: Iterable[str]) -> list[str]:
    """The steps among these that a target means: a name, an instance in any spelling, a glob."""
    if "/" in target:
        return []
    name, bracket, rest = target.partition("[")
    if bracket and rest.endswith("]") and "=" in rest:
        target = f"{name}@{rest[:-1]}"
    task, at, coords = target.partition("@")
    if at:
        target = f"{task}@{','.join(sorted(coords.split(',')))}"
    tasks = {name: name.partition("@")[0] for name in names}
    exact = [name for name, task in tasks.items() if target in (name, task)]
    if exact or not any(c in target for c in "*?["):
        return exact
    fits = re.compile(fnmatch.translate(target)).match
    return [name for name, task in tasks.items() if fits(name) or fits(task)]


def ancestors(nodes: Nodes, names: Iterable[str]) -> set[str]:
    """These instances and all that they need."""
    return _reach(lambda name: nodes[name].parents, names)


def descendants(nodes: Nodes, names: Iterable[str]) -> set[str]:
    """These instances and all that depends on them."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        for parent in node.parents:
            readers[parent].append(name)
    return _reach(lambda name: readers[name], names)


def _reach(next_to: Callable[[str], Iterable[str]], names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack.extend(next_to(name))
    return found


def chosen(
    nodes: Nodes, named: Sequence[str], selection: Selection
) -> tuple[tuple[str, ...], set[str]]:
    """The targets of a run, and all tasks that it may perform (O2)."""
    match selection:
        case Selection.ONLY:
            found = set(named)
        case Selection.NEEDS_ONLY:
            found = ancestors(nodes, named) - set(named)
        case Selection.DOWNSTREAM:
            found = descendants(nodes, named)
        case _:
            return tuple(named), ancestors(nodes, named)
    return tuple(name for name in nodes if name in found), found
