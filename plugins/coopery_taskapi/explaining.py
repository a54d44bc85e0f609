"""`explain`: a task with its template, where every part of it is from, and what memory it takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from coopery.commands import Context, table
from coopery.errors import RecipeError
from coopery.masking import masked
from coopery.quantities import show_bytes
from coopery_taskapi import finding, scaling
from coopery_taskapi.documents import handed_in
from coopery_taskapi.merging import (
    BYTES,
    Amount,
    Channel,
    Setting,
    TaskInstance,
    merge,
    template_of,
)
from coopery_taskapi.models import Binding, Task
from coopery_taskapi.reading import Read, located, read_task
from coopery_taskapi.scaling import Memory

Rows = list[tuple[str, ...]]
_PATH = ("volume_source", "host_path")


def run(context: Context) -> int:
    """Print the resolved task. Raises RecipeError with all that is wrong with it."""
    arguments = context.arguments
    sets = tuple(arguments.sets)
    task = read_task(Path(arguments.document), arguments.document, sets)
    for warning in task.warnings:
        context.tell(f"warning: {warning}")
    dict(handed_in(task))  # from here on, what is handed over confidentially is masked
    found = finding.specification_of(task, arguments.specification, context, sets)
    instance = merge(task, template_of(task, found.container.document if found.container else None))
    memory = scaling.memory_of(instance)
    if memory.request and memory.limit and memory.request > memory.limit:
        wrong = scaling.above(memory.request, memory.limit, ("resources",))
        raise RecipeError(located(wrong, task.text))
    context.answer(document_of(instance, memory, found), _text(instance, memory, found, task))
    return 0


def document_of(instance: TaskInstance, memory: Memory, found: finding.Found) -> dict[str, Any]:
    """The resolved task as plain data; a registry's password is not in it."""
    return {
        "name": instance.name,
        "image": instance.image,
        "template": instance.identifier,
        "specification": found.source,
        "env": [
            {"name": s.name, "value": masked(s.value), "source": s.source, "default": s.default}
            for s in instance.env
        ],
        "inputs": [_channel(channel, memory) for channel in instance.inputs],
        "outputs": [_channel(channel, memory) for channel in instance.outputs],
        "command": {
            "value": None if instance.command is None else list(instance.command),
            "source": instance.command_source,
        },
        "requests": _amounts(instance.requests),
        "limits": _amounts(instance.limits),
        "memory": {"limit": memory.limit, "request": memory.request},
    }


def _amounts(amounts: Any) -> dict[str, Any]:
    return {name: {"value": a.value, "source": a.source} for name, a in amounts.items()}


def _channel(channel: Channel, memory: Memory) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": channel.name,
        "host_path": channel.host_path,
        "mounted_path": channel.mounted_path,
    }
    for asked in memory.requirements:
        if asked.channel == channel.name and asked.rule is channel.scale_rule:
            document["scale_rule"] = {
                "source": channel.rule_source,
                "type": asked.rule.type,
                "mode": asked.rule.mode,
                "scale_factor": asked.rule.scale_factor,
                "size": asked.counted.size,
                "item": asked.counted.item,
                "files": [{"path": name, "size": size} for name, size in asked.counted.files],
                "memory": asked.memory,
            }
    return document


def _text(instance: TaskInstance, memory: Memory, found: finding.Found, task: Read[Task]) -> str:
    return "\n".join(_lines(instance, memory, found, task))


def _lines(
    instance: TaskInstance, memory: Memory, found: finding.Found, task: Read[Task]
) -> Iterator[str]:
    yield from table(
        [
            ("name", instance.name),
            ("image", instance.image + _filled(task, "image")),
            ("template", f"{instance.identifier}: {instance.description}"),
            ("specified", found.source),
        ]
    ).splitlines()
    said = "the image's own"
    if instance.command is not None:
        said = shlex.join(instance.command)
    yield f"command    {said}  ({instance.command_source})"
    if instance.env:
        yield "env"
        places = {v.name: ("env", n, "value") for n, v in enumerate(task.document.env or ())}
        yield from _indented(
            [_setting(s, _filled(task, *places.get(s.name, ()))) for s in instance.env]
        )
    for side, channels in (("inputs", instance.inputs), ("outputs", instance.outputs)):
        if channels:
            yield side
            bound: Sequence[Binding] = getattr(task.document, side) or ()
            names = [binding.name for binding in bound]
            yield from _indented(
                [
                    (
                        c.name,
                        f"{c.host_path}{_filled(task, side, names.index(c.name), *_PATH)}",
                        f"-> {c.mounted_path}",
                    )
                    for c in channels
                ]
            )
    stated = [*_stated("requests", instance.requests), *_stated("limits", instance.limits)]
    if stated:
        yield "resources"
        yield from _indented(stated)
    for asked in memory.requirements:
        channel = next(c for c in (*instance.inputs, *instance.outputs) if c.name == asked.channel)
        yield f"scale rule of {asked.channel}  ({channel.rule_source}, {asked.rule.type})"
        yield from (f"  {line}" for line in scaling.explain(asked))
    for kind, value in (("limit", memory.limit), ("request", memory.request)):
        if value is not None:
            yield f"memory {kind}: {value} B ({show_bytes(value)})"


def _setting(setting: Setting, filled: str) -> tuple[str, ...]:
    default, value = setting.default, setting.value
    instead = f", instead of {default!r}" if default is not None and default != value else ""
    return setting.name, repr(masked(value)), f"({setting.source}{instead}){filled}"


def _stated(kind: str, amounts: Any) -> Iterator[tuple[str, ...]]:
    for name, amount in amounts.items():
        yield f"{kind}.{name}", _amount(name, amount), f"({amount.source})"


def _amount(name: str, amount: Amount) -> str:
    return show_bytes(amount.value) if name in BYTES else f"{amount.value:g}"


def _filled(task: Read[Task], *key: str | int) -> str:
    """Which variables a text of the task was filled in with."""
    names = task.names.get(key, ())
    return f"  (with {', '.join(names)})" if names else ""


def _indented(rows: Rows) -> Iterator[str]:
    return (f"  {line}" for line in table(rows).splitlines())
