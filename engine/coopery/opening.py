"""A recipe, read and checked as a whole: what comes before any plan."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import credentials, expanding, recipes
from coopery.errors import Problem, RecipeError, nearest
from coopery.model import secrets_in
from coopery.options import CoreOptions, LockPolicy, Selection, Settings

if TYPE_CHECKING:
    from coopery.expanding import Nodes
    from coopery.model import ExitCode, Recipe
    from coopery.plugins import Plugins
    from coopery.recipes import Document


_DEFAULT = "local"
"""The runtime that nobody names: the option's goes first, then pyproject's, then the recipe's
(semantics 16)."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a recipe. `file` None means the nearest; no `targets` means all."""

    file: str | None = None
    targets: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    force: bool = False
    force_all: bool = False
    overwrite: bool = False
    fail_fast: bool = False
    selection: Selection = Selection.NEEDED
    capacity: tuple[str, ...] = ()
    """`NAME=AMOUNT`: how much of a resource there is, where the machine does not tell."""
    priority: int = 0
    """Of runs that wait for the same resources, the highest goes first."""
    lock: LockPolicy = LockPolicy.RENEW
    cwd: Path | None = None
    bases: bool = False
    """Whether the images are meant, and so a runtime whose images have bases."""
    exit_code: ExitCode | None = None
    """Whose exit code the run ends with; None for the recipe's default."""
    detached: bool = False
    """Whether nobody listens once it has begun: its story is kept beside its logs then."""
    document: Document | None = None
    """What the recipe says, where a program says it: then `file` only tells where it belongs."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A recipe that was read and found good, with its task instances."""

    recipe: Recipe
    nodes: Nodes
    runtime: str
    shown: str
    """The recipe's file as the user named it."""
    warnings: tuple[Problem, ...] = ()
    """What does not stop it, and should be told."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A recipe's file, as the user named it (`shown`); `fetched` from elsewhere or at hand."""

    file: Path
    shown: str
    fetched: bool = False


def find_recipe(cwd: Path, given: str | None, plugins: Plugins, settings: Settings) -> Found:
    """The recipe that `-f` names, else the nearest. What is no file here, a plugin may fetch.

    Raises RecipeError as `recipes.find` does, and what a plugin raises that fetches.
    """
    if given and not os.path.lexists(cwd / given):
        from coopery.steps import Event

        def tell(text: str) -> None:
            kind = "warning" if text.startswith("warning: ") else "message"
            event = Event(kind=kind, time=time.time(), message=text.removeprefix("warning: "))
            plugins.observe([event], settings)

        fetched = plugins.fetch_recipe(given, settings, tell, plugins.secrets(settings))
        if fetched is not None:
            return Found(file=fetched, shown=given, fetched=True)
    file = recipes.find(cwd, given, plugins.recipe_names())
    return Found(file=file, shown=recipes.show(file, given, cwd))


def _hinted(found: Problem, request: Request, cwd: Path) -> Problem:
    """Where there is no recipe, but a file is named as what to run, that `-f` names those."""
    if found.slug != "no-recipe" or request.file is not None:
        return found
    for target in request.targets:
        if os.path.isfile(cwd / target):  # noqa: PTH113 - Path.is_file may raise
            hint = f"a file that says what to run is named by -f: coopery run -f {target}"
            return replace(found, hint=hint)
    return found


def open_recipe(request: Request, plugins: Plugins, settings: Settings) -> Opened:
    """Read, expand and check a recipe. Raises RecipeError with all that is statically wrong."""
    cwd = request.cwd or Path.cwd()
    document = request.document
    if document is None:
        try:
            found_file = find_recipe(cwd, request.file, plugins, settings)
        except RecipeError as error:
            raise RecipeError(*(_hinted(p, request, cwd) for p in error.problems)) from None
    else:
        settled = recipes.settle(cwd / (request.file or "recipe.py"))
        found_file = Found(file=settled, shown=settled.name)
    file = found_file.file
    problems: list[Problem] = []
    try:
        destinations = cwd if found_file.fetched else None
        recipe = recipes.read(file, plugins, request.sets, document, destinations, settings)
    except RecipeError as error:
        partial = getattr(error, "partial", None)
        if partial is None:
            raise
        recipe, problems = partial, list(error.problems)
    named = settings.get(CoreOptions).runtime or recipe.defaults.runtime
    runtime = _with_bases(named, settings, plugins) if request.bases else named or _DEFAULT
    nodes, found = expanding.expand(recipe)
    found += recipe.warnings
    found += credentials.check(recipe)
    known = plugins.runtime_names()
    if runtime not in known:
        unknown = Problem(
            slug="unknown-runtime",
            message=f"there is no runtime {runtime!r}",
            hint=nearest(runtime, known),
        )
        found.append(unknown)
    else:
        found += plugins.check(recipe, runtime, settings)
    _withhold(recipe)
    found = [recipes.located(p, recipe.locate) for p in found]
    warnings = dict.fromkeys(p for p in found if p.warning)
    problems += [p for p in found if not p.warning and not _follows(p, problems)]
    if problems:
        raise RecipeError(*sorted(dict.fromkeys(problems), key=_position))
    return Opened(
        recipe=recipe,
        nodes=nodes,
        runtime=runtime,
        shown=found_file.shown,
        warnings=tuple(sorted(warnings, key=_position)),
    )


def _withhold(recipe: Recipe) -> None:
    """What is named as a secret, and may be a variable, is inherited by no process."""
    names = {given.name for task in recipe.tasks.values() for given in task.secrets.values()}
    named = (recipe.defaults, *recipe.images.values(), recipe.facets)
    names |= {secret.name for _, secret in secrets_in(named)}
    names -= {variable for task in recipe.tasks.values() for variable in task.pass_env}
    if names:
        from coopery.secrets import withhold

        withhold(names)


def _follows(found: Problem, earlier: Sequence[Problem]) -> bool:
    """Whether a problem is only there because a wrong value was left out.

    A channel, axis or parameter that could not be read is missed by whatever names it.
    """
    # A name that is wrong or given twice leaves nothing out.
    keys = [p.place.key for p in earlier if len(p.place.key) > 2 or p.slug == "wrong-type"]
    if any(key and found.place.key[: len(key)] == key for key in keys):
        return True
    named = {"inputs", "outputs", "matrix", "params", "secrets"}
    match found.slug:
        case "unknown-placeholder" | "function-signature":
            return any(key[:2] == found.place.key[:2] and named & {*key[2:3]} for key in keys)
        case "unknown-channel" | "unknown-axis" | "missing-input":
            return any(key[0] == "task" and named & {*key[2:3]} for key in keys if key)
    return False


def _position(problem: Problem) -> tuple[str, int]:
    return (problem.place.file or "", problem.place.line or 0)


def _with_bases(named: str | None, settings: Settings, plugins: Plugins) -> str:
    """The runtime that is named if its images have bases; else, unless a flag does so, one whose
    images do.

    Raises RecipeError (`runtime-without-images`).
    """
    known = plugins.runtime_names()
    if named and (named not in known or plugins.wants_bases(named)):
        return named  # of one that there is not, all that is wrong is told later
    others = [name for name in known if plugins.wants_bases(name)]
    if others and settings.source(CoreOptions, "runtime") != "flag":
        return others[0]
    message = f"the runtime {named or _DEFAULT!r} makes no images of a base"
    hint = f"leave -r away, or say -r {others[0]}" if others else "no plugin here has one that does"
    raise RecipeError(Problem(slug="runtime-without-images", message=message, hint=hint))


def first_line(opened: Opened, settings: Settings) -> str:
    """What a run of it says first: the runtime, and who chose it."""
    source = settings.source(CoreOptions, "runtime")
    if source == "default":
        source = "the recipe" if opened.recipe.defaults.runtime else "default"
    return f"{opened.shown}: runtime {opened.runtime} ({source}), {settings.jobs} at a time"
