"""What a task takes by its data, and how that turned out: before it is run, and after (K4, K6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coopery.errors import Problem, RecipeError, problem
from coopery.quantities import show_bytes
from coopery.steps import Sizing, Step
from coopery.tasks import TaskWork
from coopery_taskapi import scaling
from coopery_taskapi.planning import Scaling

KILLED = 137
"""The exit code of what was killed for its memory."""
FACT = "scaled"
"""Under which name the record has what was counted."""


def size(
    step: Step, inputs: Mapping[str, Sequence[tuple[str, Path]]], outputs: Mapping[str, Path]
) -> Sizing | None:
    """What a task of a template takes with the data it has; None for other steps."""
    work = step.work
    if not isinstance(work, TaskWork) or not isinstance(work.scaling, Scaling):
        return None
    if files := [_not_a_folder(step, name, path) for name, path in _files(inputs)]:
        return Sizing(work=work, resources=step.resources, wrong=tuple(files))
    data: dict[str, scaling.Parts] = {**inputs}
    for name, path in outputs.items():
        data[name] = (("", path),) if path.is_dir() else ()
    try:
        memory = scaling.memory_of(work.scaling.instance, data)
    except RecipeError as error:
        return Sizing(work=work, resources=step.resources, wrong=error.problems)
    limit, request = _given(work.resources.memory, memory.limit), memory.request
    wrong: tuple[Problem, ...] = ()
    if limit is not None and request is not None and request > limit:
        wrong = (scaling.above(request, limit, step.key_path),)
    kept = {"memory": float(request or limit or 0)} if request or limit else {}
    facts: dict[str, Any] = {
        "limit": limit,
        "request": request,
        "rules": [_rule(asked) for asked in memory.requirements],
    }
    if work.scaling.monitor:
        facts["channels"] = [_measured(name, parts) for name, parts in sorted(inputs.items())]
    return Sizing(
        work=replace(
            work,
            resources=replace(work.resources, memory=limit),
            monitored=work.scaling.monitor,
        ),
        resources={**step.resources, **kept},
        facts={FACT: facts} if facts["rules"] or work.scaling.monitor else {},
        wrong=wrong,
    )


def _files(
    inputs: Mapping[str, Sequence[tuple[str, Path]]],
) -> Iterator[tuple[str, Path]]:
    """The channels that are a file as a whole, and which."""
    for name, parts in inputs.items():
        if len(parts) == 1 and not parts[0][0] and parts[0][1].is_file():
            yield name, parts[0][1]


def _not_a_folder(step: Step, name: str, path: Path) -> Problem:
    message = f"the channel {name!r} of a template is a folder, and {path.name!r} is a file"
    key = (*step.key_path, "inputs", name)
    return problem("bad-input", message, key=key, hint="name the folder that it lies in")


def _given(stated: float | None, counted: int | None) -> int | None:
    """The limit: what the recipe's task states itself may be above what the template does."""
    found = [math.ceil(value) for value in (stated, counted) if value is not None]
    return max(found, default=None)


def _rule(asked: scaling.Requirement) -> dict[str, Any]:
    return {
        "channel": asked.channel,
        "type": asked.rule.type,
        "mode": asked.rule.mode,
        "scale_factor": asked.rule.scale_factor,
        "size": asked.counted.size,
        "item": asked.counted.item,
        "files": len(asked.counted.files),
        "memory": asked.memory,
    }


def _measured(name: str, parts: scaling.Parts) -> dict[str, Any]:
    files, _ = scaling.list_files(parts)
    return {"channel": name, "size": sum(size for _, size in files), "files": len(files)}


def review(step: Step, facts: Mapping[str, Any]) -> Iterator[str]:
    """What should be told of a task's memory: all of it if that was asked for, and of one that was
    killed for its memory, which factor is too small.
    """
    work, told = step.work, facts.get(FACT)
    if not isinstance(work, TaskWork) or not isinstance(work.scaling, Scaling) or told is None:
        return
    killed = facts.get("exit_code") == KILLED
    held = Held(
        peak=facts.get("peak_memory"),
        complete=bool(facts.get("peak_memory_complete")),
        unreclaimable=facts.get("unreclaimable_memory"),
    )
    if work.scaling.monitor:
        yield from _report(step.name, told, held)
    for rule in told["rules"]:
        if work.scaling.monitor or killed:
            yield from _judge(step.name, rule, held, killed=killed)


@dataclass(frozen=True, kw_only=True)
class Held:
    """How much memory a task held, in bytes, None where that was not measured.

    A `peak` that is not `complete` may have been higher. What is `unreclaimable` of it, the kernel
    could not have taken back: the rest is mostly copies of files.
    """

    peak: int | None
    complete: bool
    unreclaimable: int | None


def _report(name: str, told: Mapping[str, Any], held: Held) -> Iterator[str]:
    most = "no limit" if told["limit"] is None else f"limit {_shown(told['limit'])}"
    peak = "its peak was not measured"
    if held.peak is not None:
        peak = f"{'peak' if held.complete else 'peak at least'} {_shown(held.peak)}"
    inner = ""
    if held.unreclaimable is not None:
        inner = f", of which {_shown(held.unreclaimable)} could not be taken back"
    yield f"memory   {name}: {peak}{inner}, {most}"
    for channel in told["channels"]:
        size = _shown(channel["size"])
        yield f"memory   {name}: {channel['channel']} has {size} in {channel['files']} files"


def _judge(name: str, rule: Mapping[str, Any], held: Held, *, killed: bool) -> Iterator[str]:
    """Whether a rule alone asked for enough; the factor that would have sufficed."""
    about = f"{name}: the scale rule of {rule['channel']} asks for {_shown(rule['memory'])}"
    if held.peak is None:
        yield f"memory   {about}; whether that suffices was not measured"
        return
    if rule["memory"] >= held.peak and not killed:
        surely = "which suffices" if held.complete else "which suffices for what was seen"
        yield f"memory   {about}, {surely}"
        return
    if not rule["size"]:
        yield f"warning: {about}: it counts no bytes, so no factor would suffice"
        return
    factor = f"{_up(held.peak / rule['size']):g}"
    was = f"its scale_factor is {rule['scale_factor']:g}"
    if killed:
        yield f"warning: {about}, and it was killed: {was}, and more than {factor} is needed"
        return
    had = f"and the task has held {_shown(held.peak)}"
    less = ""
    if held.unreclaimable is not None and rule["memory"] >= held.unreclaimable:
        less = "; so may the present one, as the rest could be taken back"
    enough = "would have sufficed" if held.complete else "would have sufficed for what was seen"
    yield f"warning: {about}, {had}: {was}, and {factor} {enough}{less}"


def _up(factor: float) -> float:
    """A number that is not smaller, of three digits or, if whole, as many as it has."""
    if factor >= 100:
        return float(math.ceil(factor))
    unit = 10.0 ** (2 - math.floor(math.log10(factor)))
    return math.ceil(factor * unit) / unit


def _shown(size: int) -> str:
    return f"{show_bytes(size)} ({size} B)"
