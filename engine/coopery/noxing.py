"""For noxfiles: each task of a recipe as a nox session, so that `nox -l` lists them.

from coopery.noxing import sessions

sessions("recipe.toml")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import masking, recipes
from coopery.errors import CooperyError, RecipeError, problem
from coopery.plugins import Plugins

if TYPE_CHECKING:
    import nox

    from coopery.model import Task

INTERRUPT_TIMEOUT = 30.0
"""Seconds that nox must leave a run after Ctrl-C: tasks have a grace time, then the record is
written. By default nox takes 0.3 s for impatience, and asks again."""

TERMINATE_TIMEOUT = 10.0
"""Seconds that nox must leave a run after SIGTERM, which is its second and last word."""


def sessions(
    file: str | Path | None = None,
    *,
    prefix: str = "",
    default: bool = False,
    tags: Sequence[str] = (),
) -> tuple[str, ...]:
    """Make a nox session of each task of a recipe, and return their names.

    `file` is the recipe, relative to the noxfile's folder; without it, it is the nearest. A
    session is named after its task, with `prefix` before it, and described as it is. It brings
    the task and what it needs up to date, with the coopery that is installed beside nox, in no
    environment of its own; what stands after `--` goes to `coopery run`. Plain `nox` runs these
    sessions only with `default`.

    What is wrong with the recipe is told as `coopery` tells it, and ends nox with exit code 2.
    """
    import nox
    from nox import registry

    try:
        plugins = Plugins.discover()
        given = None if file is None else str(file)
        found = recipes.find(Path.cwd(), given, plugins.recipe_names())
        tasks = tuple(recipes.read(found, plugins).tasks.values())
        names = tuple(f"{prefix}{task.name}" for task in tasks)
        taken = [name for name in names if name in registry.get()]
        if taken:
            message = f"the noxfile has a session {taken[0]!r} already"
            hint = 'keep them apart: sessions(prefix="run-")'
            raise RecipeError(problem("duplicate-name", message, hint=hint, file=str(found)))
    except CooperyError as error:
        for each in error.problems:
            print(f"error: {masking.masked(str(each))}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    for name, task in zip(names, tasks, strict=True):
        session = nox.session(python=False, name=name, default=default, tags=list(tags))
        session(_run_of(task, found))
    return names


def _run_of(task: Task, file: Path) -> Callable[[nox.Session], None]:
    """What a session does; its docstring is the description in `nox -l`."""
    command = (sys.executable, "-m", "coopery", "run", "-f", str(file), task.name)

    def run(session: nox.Session) -> None:
        session.run(
            *command,
            *session.posargs,
            external=True,
            interrupt_timeout=INTERRUPT_TIMEOUT,
            terminate_timeout=TERMINATE_TIMEOUT,
        )

    run.__doc__ = _description(task)
    run.__name__ = task.name
    return run


def _description(task: Task) -> str:
    lines = (task.description or "").strip().splitlines()
    return lines[0].strip() if lines else f"Bring the task {task.name} up to date."
