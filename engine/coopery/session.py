"""The whole path in one place, for the command line and for Python callers alike."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import credentials, expanding, planning, recipes, running
from coopery.dependencies import Lock, LockPolicy
from coopery.errors import Problem, RecipeError, nearest
from coopery.expanding import Nodes
from coopery.forecasting import Forecast, forecast
from coopery.model import Recipe
from coopery.options import CoreOptions, Settings
from coopery.planning import Plan
from coopery.records import run_record
from coopery.running import Policy, Report
from coopery.steps import Event, Store

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.plugins import Plugins


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
    lock: LockPolicy = LockPolicy.RENEW
    cwd: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A recipe that was read and found good, with its task instances."""

    recipe: Recipe
    nodes: Nodes
    runtime: str
    warnings: tuple[Problem, ...] = ()
    """What does not stop it, and should be told."""


def open_recipe(request: Request, plugins: Plugins, settings: Settings) -> Opened:
    """Read, expand and check a recipe. Raises RecipeError with all that is statically wrong."""
    cwd = request.cwd or Path.cwd()
    file = recipes.find(cwd, request.file, plugins.recipe_names())
    problems: list[Problem] = []
    try:
        recipe = recipes.read(file, plugins, request.sets)
    except RecipeError as error:
        partial = getattr(error, "partial", None)
        if partial is None:
            raise
        recipe, problems = partial, list(error.problems)
    runtime = _runtime(recipe, settings)
    nodes, found = expanding.expand(recipe)
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
        found += plugins.check(recipe, runtime)
    found = [recipes.located(p, recipe.locate) for p in found]
    warnings = dict.fromkeys(p for p in found if p.warning)
    problems += [p for p in found if not p.warning and not _follows(p, problems)]
    if problems:
        raise RecipeError(*sorted(dict.fromkeys(problems), key=_position))
    return Opened(
        recipe=recipe,
        nodes=nodes,
        runtime=runtime,
        warnings=tuple(sorted(warnings, key=_position)),
    )


def _follows(found: Problem, earlier: Sequence[Problem]) -> bool:
    """Whether a problem is only there because a wrong value was left out.

    A channel, axis or parameter that could not be read is missed by whatever names it.
    """
    keys = [p.place.key for p in earlier]
    if any(key and found.place.key[: len(key)] == key for key in keys):
        return True
    named = {"inputs", "outputs", "matrix", "params"}
    match found.slug:
        case "unknown-placeholder" | "function-signature":
            return any(key[:2] == found.place.key[:2] and named & {*key[2:3]} for key in keys)
        case "unknown-channel" | "unknown-axis" | "missing-input":
            return any(key[0] == "task" and named & {*key[2:3]} for key in keys if key)
    return False


def _position(problem: Problem) -> tuple[str, int]:
    return (problem.place.file or "", problem.place.line or 0)


def _runtime(recipe: Recipe, settings: Settings) -> str:
    """The option's, else pyproject's, else the recipe's, else `local` (semantics 16)."""
    return settings.get(CoreOptions).runtime or recipe.defaults.runtime or "local"


def make_plan(opened: Opened, request: Request, plugins: Plugins, settings: Settings) -> Plan:
    """Lock what the targets need, and plan it."""
    cwd = request.cwd or Path.cwd()
    targets = expanding.select(opened.recipe, opened.nodes, request.targets, cwd)
    images = planning.images_of(opened.nodes, targets)
    lock = planning.lock(opened.recipe, images, request.lock, plugins, settings)
    return planning.plan(
        opened.recipe, opened.nodes, targets, lock, opened.runtime, plugins, settings.home
    )


@contextmanager
def open_store(plugins: Plugins, settings: Settings) -> Iterator[Store]:
    """The store of the home folder, closed at the end."""
    store = plugins.open_store(settings.home, settings)
    try:
        yield store
    finally:
        store.close()


def policy_of(request: Request, plan: Plan, settings: Settings) -> Policy:
    """How to run this plan: `--force` concerns the targets, `--force-all` every task."""
    tasks = [name for name, step in plan.steps.items() if step.work.kind == "task"]
    forced = tasks if request.force_all else plan.targets if request.force else ()
    return Policy(
        jobs=settings.jobs,
        forced=frozenset(forced),
        overwrite=request.overwrite,
        fail_fast=request.fail_fast,
    )


def run(
    request: Request,
    plugins: Plugins,
    settings: Settings,
    observe: Callable[[Sequence[Event]], None] | None = None,
) -> tuple[Plan, Report]:
    """Bring the targets and what they need up to date: read, check, lock, plan, run, record."""
    tell = observe or (lambda events: plugins.observe(events, settings))
    opened = open_recipe(request, plugins, settings)
    now = time.time()
    tell([Event(kind="message", time=now, message=_first_line(opened, settings))])
    tell([Event(kind="warning", time=now, message=str(p)) for p in opened.warnings])
    plan = make_plan(opened, request, plugins, settings)
    with open_store(plugins, settings) as store:
        policy = policy_of(request, plan, settings)
        run_id = new_run_id()
        store.write_run(run_id, run_record(plan, time.time(), run_id))
        report = running.run(
            plan, plugins, store, policy, run_id, settings.home, lambda event: tell([event])
        )
        store.write_run(run_id, run_record(plan, report, run_id))
    return plan, report


def preview(
    request: Request, plugins: Plugins, settings: Settings
) -> tuple[Plan, tuple[Forecast, ...]]:
    """What `run` would do, without doing it or writing the lock."""
    policy = LockPolicy.LOCKED if request.lock is LockPolicy.LOCKED else LockPolicy.PREVIEW
    request = replace(request, lock=policy)
    opened = open_recipe(request, plugins, settings)
    now = time.time()
    warnings = [Event(kind="warning", time=now, message=str(p)) for p in opened.warnings]
    plugins.observe(warnings, settings)
    plan = make_plan(opened, request, plugins, settings)
    with open_store(plugins, settings) as store:
        return plan, forecast(plan, store, policy_of(request, plan, settings).forced)


def lock_recipe(context: Context, policy: LockPolicy) -> Lock:
    """Lock every image of the recipe that a command's arguments name."""
    request = Request(file=context.arguments.file)
    opened = open_recipe(request, context.plugins, context.settings)
    images = tuple(opened.recipe.images)
    return planning.lock(opened.recipe, images, policy, context.plugins, context.settings)


def new_run_id() -> str:
    """A run's id: UTC time to the millisecond, and random digits; sorts by time."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{rest // 1_000_000:03d}-{secrets.token_hex(2)}"


def _first_line(opened: Opened, settings: Settings) -> str:
    source = settings.source(CoreOptions, "runtime")
    if source == "default":
        source = "the recipe" if opened.recipe.defaults.runtime else "default"
    shown = os.path.relpath(opened.recipe.file)
    return f"{shown}: runtime {opened.runtime} ({source}), {settings.jobs} at a time"
