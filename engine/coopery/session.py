"""The whole path in one place, for the command line and for Python callers alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import planning, resources, running, selecting
from coopery.dependencies import Lock
from coopery.destinations import refused
from coopery.elsewhere import Elsewhere
from coopery.errors import CooperyError, Problem, RecipeError, nearest
from coopery.exit_codes import of_task, one_task
from coopery.forecasting import Forecast, forecast
from coopery.opening import Opened, Request, first_line, open_recipe
from coopery.options import LockPolicy, Settings
from coopery.planning import Plan
from coopery.records import Recorder
from coopery.repeating import Again
from coopery.running import Policy, Report, Run
from coopery.steps import Event, State, Store
from coopery.stopping import Stop

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.model import Recipe
    from coopery.plugins import Plugins


STORY = "@story"
"""What is told of a detached run has a log as steps have, which none can bear the name of."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run that has ended: what was planned, how it went, and its record."""

    plan: Plan
    report: Report
    record: Mapping[str, Any]
    task: str | None = None
    """The one task whose exit code is that of the run."""

    @property
    def exit_code(self) -> int:
        """The run's, or that of its one task."""
        return self.report.exit_code if self.task is None else of_task(self.report, self.task)


def make_plan(opened: Opened, request: Request, plugins: Plugins, settings: Settings) -> Plan:
    """Lock what the targets need, and plan it."""
    nodes = opened.nodes
    named = selecting.select(opened.recipe, nodes, request.targets, request.cwd or Path.cwd())
    targets, selected = selecting.chosen(nodes, named, request.selection)
    images = planning.images_of(nodes, targets)
    recipe, runtime = opened.recipe, opened.runtime
    lock = planning.lock(recipe, images, runtime, request.lock, plugins, settings)
    made = planning.plan(recipe, nodes, targets, lock, runtime, plugins, settings, selected)
    if request.document is not None:
        return replace(made, again=lambda tasks: ())  # what a program declares, it runs itself
    command = Again(opened, request, plugins, settings, frozenset(selected))
    return replace(made, again=command)


@contextmanager
def open_store(plugins: Plugins, settings: Settings) -> Iterator[Store]:
    """The store of the home folder, closed at the end."""
    store = plugins.open_store(settings.home, settings)
    try:
        yield store
    finally:
        store.close()


def policy_of(request: Request, plan: Plan, settings: Settings) -> Policy:
    """How to run this plan: `--force` concerns the targets, `--force-all` every task.

    Raises RecipeError (`bad-option`) for capacities that are none.
    """
    tasks = [name for name in plan.selected if plan.steps[name].work.kind == "task"]
    forced = tasks if request.force_all else plan.targets if request.force else ()
    return Policy(
        jobs=settings.jobs,
        forced=frozenset(forced),
        overwrite=request.overwrite,
        fail_fast=request.fail_fast,
        capacity=resources.capacity(request.capacity),
        priority=request.priority,
    )


def run(
    request: Request,
    plugins: Plugins,
    settings: Settings,
    observe: Callable[[Sequence[Event]], None] | None = None,
) -> Done:
    """Bring the targets and what they need up to date: read, check, lock, plan, run, record."""
    tell = observe or (lambda events: plugins.observe(events, settings))
    opened = open_recipe(request, plugins, settings)
    now = time.time()
    tell([Event(kind="message", time=now, message=first_line(opened, settings))])
    tell([Event(kind="warning", time=now, message=str(p)) for p in opened.warnings])
    plan = make_plan(opened, request, plugins, settings)
    task = one_task(plan, request.exit_code)
    with open_store(plugins, settings) as store:
        policy = policy_of(request, plan, settings)
        done = run_plan(
            plan, policy, store, plugins, settings, tell, request.targets, detached=request.detached
        )
        return replace(done, task=task)


def run_plan(
    plan: Plan,
    policy: Policy,
    store: Store,
    plugins: Plugins,
    settings: Settings,
    tell: Callable[[Sequence[Event]], None],
    asked: Sequence[str] | None = None,
    *,
    detached: bool = False,
) -> Done:
    """Run a plan and record it.

    `asked` is what the targets were called (nothing, for all), where that is not the names of
    their instances. The story of a `detached` run is kept beside its logs.
    """
    run_id = new_run_id()
    _clear_away(plugins, settings, tell)
    stop = Stop()

    def emit(event: Event) -> None:
        recorder.observe(event)
        failed = event.outcome is not None and event.outcome.state is State.FAILED
        if failed and plan.steps[event.step].work.kind == "task":
            event = replace(event, again=plan.again([event.step]))
        tell([event])

    over = Event(kind="run-ended", time=time.time(), total=len(plan.steps))
    try:
        secrets = plugins.secrets(settings, plan.recipe.confided)
        home = settings.home
        under_way = Run(plan, plugins, store, policy, run_id, home, emit, stop, secrets, settings)
        for warning in under_way.check():
            tell([Event(kind="warning", time=time.time(), message=str(warning))])
    except BaseException:
        # It was refused: nothing has run, so there is no record. But whoever shows runs must know.
        tell([replace(over, time=time.time())])
        raise
    story = store.log_path(run_id, STORY) if detached else None
    recorder = Recorder(plan, store, run_id, lambda force: stop.ask(force=force), asked, story)
    try:
        tell([Event(kind="begun", time=time.time(), record=recorder.beginning, log=story)])
        report = running.run(under_way)
    except BaseException:
        tell([replace(over, time=time.time())])
        recorder.abandon()
        raise

    def conclude(record: Mapping[str, Any]) -> None:
        tell([Event(kind="concluding", time=time.time(), record=record)])

    record = recorder.finish(report, conclude)
    if not report.interrupted:
        _tidy(store, Elsewhere(plugins, settings.home), tell)
    tell([Event(kind="recorded", time=time.time(), record=record)])
    return Done(plan=plan, report=report, record=record)


def _clear_away(
    plugins: Plugins, settings: Settings, tell: Callable[[Sequence[Event]], None]
) -> None:
    """What runs that were killed left behind goes before a new one begins."""
    for found in plugins.diagnose(settings.home, settings, mend=True, quick=True):
        if found.mended or found.state == "error":
            tell([Event(kind="warning", time=time.time(), message=found.text)])


def _tidy(store: Store, elsewhere: Elsewhere, tell: Callable[[Sequence[Event]], None]) -> None:
    """Keep the store within its limits; a run that has ended well is not failed by that."""
    try:
        said = store.tidy(elsewhere)
    except CooperyError as error:
        text = f"the home folder could not be tidied: {error.problems[0]}"
        tell([Event(kind="warning", time=time.time(), message=text)])
    else:
        if said:
            tell([Event(kind="message", time=time.time(), message=said)])


def preview(
    request: Request, plugins: Plugins, settings: Settings, *, refusing: bool = True
) -> tuple[Plan, tuple[Forecast, ...]]:
    """What `run` would do, without doing it or writing the lock.

    Raises what `run` would raise before anything runs: RecipeError (`not-made`, `output-edited`,
    `unknown-resource`), and MachineError (`never-fits`); of these only `not-made` when not
    `refusing`: without what is never made, nothing can be foretold.
    """
    lock = LockPolicy.LOCKED if request.lock is LockPolicy.LOCKED else LockPolicy.PREVIEW
    request = replace(request, lock=lock)
    plugins.observe([Event(kind="preview", time=time.time(), message="--dry-run")], settings)
    opened = open_recipe(request, plugins, settings)
    now = time.time()
    warnings = [Event(kind="warning", time=now, message=str(p)) for p in opened.warnings]
    plugins.observe(warnings, settings)
    plan = make_plan(opened, request, plugins, settings)
    with open_store(plugins, settings) as store:
        policy = policy_of(request, plan, settings)
        found = forecast(plan, store, policy.forced, plugins.find_gone)
        if not refusing:
            return plan, found
        told = [] if request.overwrite else refused(plan, store, policy.forced)
        if edited := [p for p in told if not p.warning]:
            raise RecipeError(*edited)
        resources.require(plan, policy.capacity, lambda: found)
        now = time.time()
        plugins.observe([Event(kind="warning", time=now, message=str(p)) for p in told], settings)
        return plan, found


def build(request: Request, images: Sequence[str], plugins: Plugins, settings: Settings) -> Done:
    """Make these images of the recipe, and what they are made of; all when none is named. `force`
    makes all parts of these images anew.

    Raises RecipeError (`unknown-image`).
    """

    def tell(events: Sequence[Event]) -> None:
        plugins.observe(events, settings)

    opened = open_recipe(request, plugins, settings)
    names = named_images(opened.recipe, images)
    now = time.time()
    tell([Event(kind="message", time=now, message=first_line(opened, settings))])
    tell([Event(kind="warning", time=now, message=str(p)) for p in opened.warnings])
    recipe, runtime = opened.recipe, opened.runtime
    lock = planning.lock(recipe, names, runtime, request.lock, plugins, settings)
    plan = planning.plan_images(recipe, names, lock, runtime, plugins, settings)
    with open_store(plugins, settings) as store:
        policy = policy_of(request, plan, settings)
        if request.force:
            policy = replace(policy, forced=_parts(plan))
        return run_plan(plan, policy, store, plugins, settings, tell)


def _parts(plan: Plan) -> frozenset[str]:
    """The steps of a plan that make its images: all parts of each, down to its base."""
    found: set[str] = set()
    stack = [name for made in plan.made.values() for name in made]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            step = plan.steps[name]
            stack += [n for n in step.waits_for if plan.steps[n].work.kind == step.work.kind]
    return frozenset(found)


def named_images(recipe: Recipe, names: Sequence[str]) -> tuple[str, ...]:
    """The images of these names; all when none is named. Raises RecipeError (`unknown-image`)."""
    unknown = [
        Problem(
            slug="unknown-image",
            message=f"there is no image {name!r}",
            hint=nearest(name, recipe.images),
        )
        for name in names
        if name not in recipe.images
    ]
    if unknown:
        raise RecipeError(*unknown)
    return tuple(dict.fromkeys(names)) or tuple(recipe.images)


def lock_recipe(context: Context, policy: LockPolicy) -> Lock:
    """Lock every image of the recipe that a command's arguments name."""
    request = Request(file=context.arguments.file)
    opened = open_recipe(request, context.plugins, context.settings)
    images = tuple(opened.recipe.images)
    recipe, runtime = opened.recipe, opened.runtime
    return planning.lock(recipe, images, runtime, policy, context.plugins, context.settings)


def new_run_id() -> str:
    """A run's id: UTC time to the millisecond, and random digits; sorts by time."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{rest // 1_000_000:03d}-{os.urandom(2).hex()}"
