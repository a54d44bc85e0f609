"""A shell in a task's place: all that it needs brought up to date, and none of it remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from coopery.errors import Problem, RecipeError, StepError
from coopery.keys import Identities, Vanished
from coopery.opening import Request, open_recipe
from coopery.performing import Performer, in_place
from coopery.planning import Plan
from coopery.session import make_plan, open_store, policy_of, run_plan
from coopery.sizing import Sizes
from coopery.steps import Event, Step, Store
from coopery.stopping import Stop

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery.plugins import Plugins


def visit(request: Request, plugins: Plugins, settings: Settings) -> int:
    """Open a shell in the place of the one task instance that the request names.

    What it needs is brought up to date by a run of its own, where it is not already. Returns the
    shell's exit code, or that of the run when it went wrong. Raises RecipeError (`one-task`).
    """

    def tell(events: Sequence[Event]) -> None:
        plugins.observe(events, settings)

    tell([Event(kind="preview", time=time.time(), message="--shell")])
    opened = open_recipe(request, plugins, settings)
    now = time.time()
    tell([Event(kind="warning", time=now, message=str(p)) for p in opened.warnings])
    plan = make_plan(opened, request, plugins, settings)
    if len(plan.targets) != 1:
        those = "are named" if request.targets else "are there, and none is named"
        message = f"a shell opens in one task; {len(plan.targets)} {those}"
        hint = f"name one: {', '.join(plan.targets[:3])}" if plan.targets else None
        raise RecipeError(Problem(slug="one-task", message=message, hint=hint))
    step = plan.steps[plan.targets[0]]
    with open_store(plugins, settings) as store:
        code = _bring_up_to_date(plan, step, request, store, plugins, settings, tell)
        if code:
            return code
        identities = Identities(store, plan.steps)
        lacking = _lacking(plan, step, identities, store, plugins)
        if lacking.steps:
            message = f"the bytes of {', '.join(lacking.steps)} went missing"
            raise StepError(Problem(slug="lost-bytes", message=message, hint="try again"))
        problems = plugins.authorize(step)
        if problems:
            raise StepError(*problems)
        try:
            key = identities.key_of(step)
        except Vanished as error:
            raise StepError(Problem(slug="missing-input", message=f"{error} is gone")) from None
        sizes = Sizes(plugins, store, identities, policy_of(request, plan, settings).capacity)
        sizes.find(step)
        secrets = plugins.secrets(settings, plan.recipe.confided)
        performer = Performer(plugins, store, identities, "", settings.home, Stop(), secrets)
        return performer.visit(sizes.sized(step), key)


def _bring_up_to_date(
    plan: Plan,
    step: Step,
    request: Request,
    store: Store,
    plugins: Plugins,
    settings: Settings,
    tell: Callable[[Sequence[Event]], None],
) -> int:
    """Run what the step needs, unless all of it is there; 0, or the run's exit code."""
    before = replace(
        plan,
        steps={name: each for name, each in plan.steps.items() if name != step.name},
        targets=tuple(n for n in step.waits_for if plan.steps[n].work.kind == "task"),
        selected=plan.selected - {step.name},
    )
    # Once for results that are out of date, and once more for bytes that nobody else wanted.
    for _ in range(2):
        found = _lacking(plan, step, Identities(store, plan.steps), store, plugins)
        if not found.steps:
            return 0
        policy = policy_of(replace(request, force=False, force_all=False), before, settings)
        gone = frozenset(found.steps if found.known else ())
        policy = replace(policy, forced=gone, wanted=gone)
        code = run_plan(before, policy, store, plugins, settings, tell).report.exit_code
        if code:
            return code
    return 0


@dataclass(frozen=True, kw_only=True)
class _Lacking:
    """What stands between a step and its needs.

    `steps` are those without a result, or, when all results are `known`, those whose bytes are
    gone.
    """

    steps: tuple[str, ...]
    known: bool = False


def _lacking(
    plan: Plan, step: Step, identities: Identities, store: Store, plugins: Plugins
) -> _Lacking:
    """The first step without a remembered result, else those whose bytes this step lacks.

    Fills in what is known of the outputs.
    """
    for name, each in plan.steps.items():
        if name == step.name:
            continue
        try:
            key = identities.key_of(each)
        except Vanished:
            return _Lacking(steps=(name,))  # to run it says what is wrong
        record = store.recall([key]).get(key)
        if record is None and not each.work.in_place:
            return _Lacking(steps=(name,))
        identities.outputs[name] = record.outputs if record else in_place(each, key)
    wanted = {source for need in step.needs for source in need.outputs}
    known = identities.outputs
    store.lease(known[source.step][source.output] for source in wanted)
    places = {s.step: store.find(known[s.step][s.output]) for s in wanted}
    gone = {name for name, path in places.items() if path is None}
    made = [(plan.steps[n], path) for n, path in places.items() if path is not None]
    gone |= plugins.find_gone([(s, path) for s, path in made if s.work.in_place])
    return _Lacking(steps=tuple(sorted(gone)), known=True)
