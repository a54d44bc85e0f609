"""`why`: what of a target changed since it was last made, or which run made its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coopery import planning
from coopery.commands import Context
from coopery.errors import RecipeError, nearest
from coopery.forecasting import FindGone, Forecast, forecast
from coopery.history import History
from coopery.keys import Vanished
from coopery.opening import Opened, Request, open_recipe
from coopery.options import LockPolicy
from coopery.planning import Plan
from coopery.records import timestamp
from coopery.selecting import matching
from coopery.session import make_plan, open_store
from coopery.steps import Record, Store
from coopery_inspect.causes import Cause, Search, known_identities

MOST = 8
"""How many reasons the text gives; `--json` gives all."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What there is to say of one target.

    `reasons` tell why it will run (of what it depends on: why that will), and of a cached one,
    why it ran. `chain` leads from the step it depends on to it. `unseen` says of what it made, or
    reads, why nobody could look whether it is still there.
    """

    step: str
    verdict: str
    key: str
    chain: tuple[str, ...] = ()
    made_by: str = ""
    made_at: float | None = None
    reasons: tuple[Cause, ...] = ()
    unseen: str = ""

    @property
    def on(self) -> str | None:
        """The step on which it depends whether it runs."""
        return self.chain[0] if self.chain else None


def run(context: Context) -> int:
    """Explain every target; nothing is run, locked or written."""
    arguments = context.arguments
    request = Request(
        file=arguments.file,
        targets=tuple(arguments.targets),
        sets=tuple(arguments.sets),
        lock=LockPolicy.PREVIEW,
    )
    opened = open_recipe(request, context.plugins, context.settings)
    images = tuple(dict.fromkeys(n for n in request.targets if _is_image(n, opened)))
    tasks = tuple(name for name in request.targets if name not in images)
    plans = []
    if tasks or not images:
        plan = _plan_tasks(opened, replace(request, targets=tasks), context)
        plans.append((plan, plan.targets))
    if images:
        plans.append(plan_images(opened, images, context))
    with open_store(context.plugins, context.settings) as store:
        answers = [
            answer
            for plan, targets in plans
            for answer in Explainer(plan, store, context.plugins.find_gone).answers(targets)
        ]
    document = {
        "recipe": str(opened.recipe.file),
        "runtime": opened.runtime,
        "targets": [_document(answer) for answer in answers],
    }
    context.answer(document, "\n".join(_text(answer) for answer in answers))
    return 0


def _is_image(name: str, opened: Opened) -> bool:
    """A task of the name of an image is what is meant by it."""
    return name in opened.recipe.images and not matching(name, opened.nodes)


def _plan_tasks(opened: Opened, request: Request, context: Context) -> Plan:
    """As for a run. Raises RecipeError (`unknown-target`), which knows images too."""
    try:
        return make_plan(opened, request, context.plugins, context.settings)
    except RecipeError as error:
        known = (*opened.recipe.tasks, *opened.recipe.images)
        hints = {f"nothing is called {name!r}": nearest(name, known) for name in request.targets}
        problems = (replace(p, hint=hints.get(p.message, p.hint)) for p in error.problems)
        raise RecipeError(*problems) from None


def plan_images(
    opened: Opened, images: Sequence[str], context: Context
) -> tuple[Plan, tuple[str, ...]]:
    """The plan that makes images for no task, and the steps whose results they are."""
    recipe, runtime = opened.recipe, opened.runtime
    policy = LockPolicy.PREVIEW
    plugins, settings = context.plugins, context.settings
    lock = planning.lock(recipe, images, runtime, policy, plugins, settings)
    plan = planning.plan_images(recipe, images, lock, runtime, plugins, settings)
    return plan, tuple(dict.fromkeys(step for name in images for step in plan.made.get(name, ())))


class Explainer:
    """Explains the steps of one plan."""

    def __init__(self, plan: Plan, store: Store, find_gone: FindGone | None = None) -> None:
        self.plan = plan
        self.history = History(store, plan.recipe.file)
        forecasts = forecast(plan, store, (), find_gone)
        self.forecasts: Mapping[str, Forecast] = {f.step: f for f in forecasts}
        keys = {f.step: f.key for f in forecasts if f.key}
        self.records: Mapping[str, Record] = store.recall(list(keys.values()))
        self.identities = known_identities(plan, keys, self.records, self.history)
        self.search = Search(plan, self.identities, self.history)
        self._reasons: dict[str, tuple[Cause, ...]] = {}

    def answers(self, steps: Sequence[str]) -> list[Answer]:
        """An answer for each of these steps."""
        return [self.answer(self.forecasts[name]) for name in steps]

    def answer(self, forecast: Forecast) -> Answer:
        """What a run would do with a step, and for which reasons."""
        return replace(self._answer(forecast), unseen=self._unseen(forecast))

    def _unseen(self, forecast: Forecast) -> str:
        """What is cached needs nothing of what it was made from."""
        needs = () if forecast.verdict == "cached" else self.plan.steps[forecast.step].waits_for
        for name in (forecast.step, *needs):
            if name in self.forecasts and (why := self.forecasts[name].unseen):
                return f"nobody could look whether {name} is still there: {why}"
        return ""

    def _answer(self, forecast: Forecast) -> Answer:
        match forecast.verdict:
            case "cached":
                record = self.records[forecast.key]
                return Answer(
                    step=forecast.step,
                    verdict="cached",
                    key=record.key,
                    made_by=record.run,
                    made_at=record.finished,
                    reasons=self.past(record),
                )
            case "depends":
                return self.depends(forecast)
        return Answer(
            step=forecast.step,
            verdict="run",
            key=forecast.key,
            reasons=self.reasons(forecast),
        )

    def depends(self, forecast: Forecast) -> Answer:
        """A step that other steps may yet cut off: what is certain of it, and of all of those."""
        roots, between, reader = self.open_ends(forecast.step)
        found = list(self.reasons(forecast))
        for name in (*roots, *between):
            found += [
                replace(cause, through=(name, *cause.through))
                for cause in self.reasons(self.forecasts[name])
            ]
        return Answer(
            step=forecast.step,
            verdict="depends",
            key="",
            chain=_way(roots[0], reader),
            reasons=tuple(found),
        )

    def reasons(self, forecast: Forecast) -> tuple[Cause, ...]:
        """Why a step will run, as far as it is certain."""
        if forecast.step not in self._reasons:
            self._reasons[forecast.step] = self._find_reasons(forecast)
        return self._reasons[forecast.step]

    def _find_reasons(self, forecast: Forecast) -> tuple[Cause, ...]:
        step = self.plan.steps[forecast.step]
        if step.always:
            return (_plain("always", forecast),)
        if forecast.key in self.records:
            return (_plain("gone", forecast),)
        latest = self.history.latest(step.name)
        try:
            if forecast.verdict == "depends":
                return self.search.certain(step, latest)
            return self.search.causes(step, latest)
        except Vanished:
            text = forecast.reason if forecast.verdict == "run" else "an input is gone"
            return (Cause(code="missing-input", step=step.name, part="", text=text),)

    def past(self, record: Record) -> tuple[Cause, ...]:
        """Why the run that made a result did so, as far as its record is kept."""
        entry = self.history.entry(record.run, record.step)
        reason = entry["reason"] if entry else None
        if reason is None:
            return ()
        before = self.history.before(record) if reason["code"] == "changed" else None
        if before is not None:
            return self.search.causes(self.plan.steps[record.step], before)
        return (Cause(code=reason["code"], step=record.step, part="", text=reason["text"]),)

    def open_ends(self, name: str) -> tuple[list[str], list[str], Mapping[str, str | None]]:
        """The steps that may cut `name` off, those between, and by step who reads it.

        The one that the forecast names comes first; the readers give the shortest ways.
        """
        reader: dict[str, str | None] = {name: None}
        pending = [name]
        roots = []
        for current in pending:
            if self.forecasts[current].verdict != "depends":
                roots.append(current)
                continue
            for need in self.plan.steps[current].waits_for:
                if need not in self.identities.outputs and need not in reader:
                    reader[need] = current
                    pending.append(need)
        ends = set(roots)
        between = [step for step in pending[1:] if step not in ends]
        roots.sort(key=lambda root: root != self.forecasts[name].on)
        return roots, between, reader


def _way(root: str, reader: Mapping[str, str | None]) -> tuple[str, ...]:
    found = []
    current: str | None = root
    while current is not None:
        found.append(current)
        current = reader[current]
    return tuple(found)


def _plain(code: str, forecast: Forecast) -> Cause:
    return Cause(code=code, step=forecast.step, part="", text=forecast.reason)


def _document(answer: Answer) -> dict[str, Any]:
    return {
        "step": answer.step,
        "verdict": answer.verdict,
        "key": answer.key or None,
        "on": answer.on,
        "chain": list(answer.chain),
        "made_by": answer.made_by or None,
        "made_at": timestamp(answer.made_at),
        "reasons": [
            {
                "code": cause.code,
                "step": cause.step,
                "part": cause.part or None,
                "text": cause.text,
                "through": list(cause.through),
            }
            for cause in answer.reasons
        ],
        "unseen": answer.unseen or None,
    }


def _text(answer: Answer) -> str:
    reasons = _merged(answer.reasons) if answer.verdict == "depends" else answer.reasons
    lines = [str(reason) for reason in reasons[:MOST]]
    if len(reasons) > MOST:
        lines.append(f"… and {len(reasons) - MOST} more (--json gives all)")
    match answer.verdict:
        case "cached":
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(answer.made_at))
            head = f"cached, made by run {answer.made_by} at {when}, key {answer.key[:12]}"
            if len(lines) > 1:
                lines = ["it ran because:", *(f"  {line}" for line in lines)]
            else:
                lines = [f"it ran because: {line}" for line in lines]
        case "depends":
            head = f"depends on {answer.on}"
            if len(answer.chain) > 2:
                head += f" ({_chain(answer.chain)})"
        case _:
            head = "run"
    if answer.unseen:
        lines.insert(0, answer.unseen)
    return "\n".join([f"{answer.step}: {head}", *(f"  {line}" for line in lines)])


def _merged(reasons: Sequence[Cause]) -> list[Cause]:
    """What holds for several steps alike, said once: `fit@fold=0, fit@fold=1: …`."""
    alike: dict[Cause, list[str]] = {}
    for cause in reasons:
        start, rest = cause.through[:1], cause.through[1:]
        step = "" if (cause.step,) == start else cause.step
        alike.setdefault(replace(cause, step=step, through=rest), []).extend(start)
    return [
        replace(cause, through=(_several(starts), *cause.through)) if starts else cause
        for cause, starts in alike.items()
    ]


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _chain(names: tuple[str, ...]) -> str:
    """`prepare -> fit@fold=0 -> score`; a long one without its middle."""
    shown = names if len(names) <= 6 else (*names[:3], "…", *names[-2:])
    return " -> ".join(shown)
