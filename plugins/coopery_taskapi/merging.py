"""A task and its template as one: what is run, and where each part of it is from (row K3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from coopery.errors import KeyPath, Problem, RecipeError, nearest, problem
from coopery.quantities import show_bytes
from coopery.wording import JSON, speaking, spoken
from coopery_taskapi.models import (
    CARDS,
    Amounts,
    Binding,
    Config,
    Mount,
    ProcessingContainer,
    ScaleRule,
    Task,
    Template,
    TemplateVariable,
)
from coopery_taskapi.paths import misfit
from coopery_taskapi.reading import Read, located

Source = Literal["task", "template", "image"]
"""Who says something: the task, its template, or neither, so that it is the image's own."""
Side = Literal["inputs", "outputs"]
BYTES = ("memory", "shm", "ephemeral-storage")
"""Resources that are counted in bytes."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A variable of the container. Of one that the task sets, `default` is the template's value."""

    name: str
    value: str
    source: Source
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Data of this machine at a place in the container, and the rule by which memory scales."""

    name: str
    host_path: str
    mounted_path: str
    scale_rule: ScaleRule | None = None
    rule_source: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Amount:
    """So much of a resource; `value` in bytes or in cores or cards."""

    value: float
    source: Source


@dataclass(frozen=True, kw_only=True)
class TaskInstance:
    """A task with its template: all that is to be run, each part with its source.

    Without a `command` the image's own is run. `requests` and `limits` are as stated: what scale
    rules ask for comes on top.
    """

    name: str
    image: str
    identifier: str
    description: str
    env: tuple[Setting, ...]
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    command: tuple[str, ...] | None
    command_source: Source
    requests: Mapping[str, Amount]
    limits: Mapping[str, Amount]
    config: Config


def template_of(task: Read[Task], container: ProcessingContainer | None) -> Template:
    """The template that a task is of: its own, or that of the image's specification.

    Raises RecipeError (`unknown-template`); the specification is needed where the task names one.
    """
    named = task.document.taskTemplate
    if isinstance(named, Template):
        return named
    assert container is not None
    for template in container.templates:
        if template.identifier == named:
            return template
    known = [template.identifier for template in container.templates]
    message = f"{container.name} has no template {named!r}"
    near = nearest(named, known) or ""
    hint = near if near.startswith("there is") else f"{near} There is: {', '.join(known[:12])}"
    raise RecipeError(
        located(problem("unknown-template", message, key=("taskTemplate",), hint=hint), task.text)
    )


def merge(task: Read[Task], template: Template) -> TaskInstance:
    """The task with its template. Raises RecipeError with all that does not fit, at its place."""
    with speaking(JSON):
        problems = check_fit(task.document, template)
    if problems:
        raise RecipeError(*(located(found, task.text) for found in problems))
    return join(task.document, template)


def check_fit(task: Task, template: Template) -> list[Problem]:
    """All that does not fit, at the keys of the task.

    Problems: `unknown-channel`, `unbound-channel`, `not-adjustable`, `not-a-choice`,
    `wrong-value`, `request-above-limit`.
    """
    return [
        *_check_settings(task, template),
        *_check_channels(task.inputs, template.inputs, "inputs"),
        *_check_channels(task.outputs, template.outputs, "outputs"),
        *_check_amounts(task, template),
    ]


def join(task: Task, template: Template) -> TaskInstance:
    """The task with a template that it fits."""
    command = task.command if task.command is not None else template.command
    source: Source = "template" if template.command is not None else "image"
    return TaskInstance(
        name=task.name,
        image=task.image,
        identifier=template.identifier,
        description=template.description,
        env=tuple(_settings(task, template)),
        inputs=_channels(task.inputs, template.inputs),
        outputs=_channels(task.outputs, template.outputs),
        command=command,
        command_source=source if task.command is None else "task",
        requests=_amounts(task.resources, template.resources, "requests"),
        limits=_amounts(task.resources, template.resources, "limits"),
        config=task.config or Config(),
    )


def _settings(task: Task, template: Template) -> Iterator[Setting]:
    """The template's variables in their order, then those that only the task has."""
    given = {variable.name: variable.value for variable in task.env or ()}
    for variable in template.env or ():
        if variable.name in given:
            value = given.pop(variable.name)
            yield Setting(name=variable.name, value=value, source="task", default=variable.value)
        else:
            yield Setting(name=variable.name, value=variable.value, source="template")
    for name, value in given.items():
        yield Setting(name=name, value=value, source="task")


def _check_settings(task: Task, template: Template) -> Iterator[Problem]:
    known = {variable.name: variable for variable in template.env or ()}
    for index, given in enumerate(task.env or ()):
        if (variable := known.get(given.name)) is not None:
            yield from check_setting(given.value, variable, ("env", index, "value"))


def check_setting(value: str, variable: TemplateVariable, key: KeyPath) -> Iterator[Problem]:
    """What is wrong with a value that a task gives to a variable of its template."""
    name = variable.name
    if variable.adjustable is False:
        message = f"{name} is not adjustable: it is {variable.value!r}"
        hint = "take it out of the task; or have the template say that it is adjustable"
        yield problem("not-adjustable", message, key=key, hint=hint)
    elif variable.choices and value not in variable.choices:
        message = f"{value!r} is not one of the choices of {name}"
        yield problem("not-a-choice", message, key=key, hint=nearest(value, variable.choices))
    elif wrong := misfit(value, variable.type):
        message = f"{value!r} is not of type {variable.type}, which {name} is: {wrong}"
        hint = f"the default is {variable.value!r}"
        yield problem("wrong-value", message, key=key, hint=hint)


def _check_channels(
    bindings: Sequence[Binding] | None, mounts: Sequence[Mount] | None, side: Side
) -> Iterator[Problem]:
    """Each channel of the template is bound, and nothing else is."""
    noun = side.removesuffix("s")
    known = [mount.name for mount in mounts or ()]
    bound = [binding.name for binding in bindings or ()]
    for index, name in enumerate(bound):
        if name not in known:
            message = f"the template has no {noun} {name!r}"
            hint = nearest(name, known) or f"it has no {side}: take it out"
            yield problem("unknown-channel", message, key=(side, index, "name"), hint=hint)
    for name in known:
        if name not in bound:
            message = f"the {noun} {name!r} of the template is not bound"
            hint = f'write {side}.{name} = "…" for the task'
            if spoken() is JSON:
                hint = f'add {{"name": "{name}", "volume_source": {{"host_path": "/…"}}}} to {side}'
            yield problem("unbound-channel", message, key=(side,), hint=hint)


def _check_amounts(task: Task, template: Template) -> Iterator[Problem]:
    """Cards are whole, and of nothing is more kept free than may be used."""
    limits = _amounts(task.resources, template.resources, "limits")
    requests = _amounts(task.resources, template.resources, "requests")
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name in CARDS:
            if name in amounts and amounts[name].value % 1:
                message = f"{name} is {amounts[name].value:g}: there are only whole cards"
                key = _amount_key(amounts[name], kind, name)
                yield problem("wrong-value", message, key=key, hint="write a whole number")
    bound = [b.scale_rule for b in (*(task.inputs or ()), *(task.outputs or ()))]
    mounted = [m.scale_rule for m in (*(template.inputs or ()), *(template.outputs or ()))]
    grows = any(rule is not None and rule.type == "limit" for rule in (*bound, *mounted))
    for name, wanted in requests.items():
        if name == "memory" and grows:
            continue  # the data raises the limit: what it comes to is known once that is there
        most = limits.get(name)
        if most is not None and wanted.value > most.value:
            asked, allowed = show_amount(name, wanted.value), show_amount(name, most.value)
            message = f"it asks for {asked} of {name}, and its limit is {allowed}"
            stated = most if most.source == "task" else wanted
            key = _amount_key(stated, "limits" if stated is most else "requests", name)
            hint = "raise the limit, or ask for less"
            yield problem("request-above-limit", message, key=key, hint=hint)


def _amount_key(amount: Amount, kind: str, name: str) -> KeyPath:
    """Where a task says an amount; its template's name, where that does."""
    return ("resources", kind, name) if amount.source == "task" else ("taskTemplate",)


def show_amount(name: str, value: float) -> str:
    """An amount of a resource for people; bytes to the last one."""
    if name in BYTES:
        return f"{show_bytes(value)} ({value:.0f} B)" if value >= 1024 else show_bytes(value)
    return f"{value:g}"


def _channels(
    bindings: Sequence[Binding] | None, mounts: Sequence[Mount] | None
) -> tuple[Channel, ...]:
    by_name = {binding.name: binding for binding in bindings or ()}
    found = []
    for mount in mounts or ():
        binding = by_name[mount.name]
        rule = binding.scale_rule or mount.scale_rule
        source: Source = "task" if binding.scale_rule else "template"
        found.append(
            Channel(
                name=mount.name,
                host_path=binding.volume_source.host_path,
                mounted_path=mount.mounted_path,
                scale_rule=rule,
                rule_source=source if rule else None,
            )
        )
    return tuple(found)


def _amounts(
    task: Amounts | None, template: Amounts | None, kind: Literal["requests", "limits"]
) -> dict[str, Amount]:
    """Per resource, the task wins; what only the template states stays."""
    sources: tuple[tuple[Source, Amounts | None], ...] = (("template", template), ("task", task))
    return {
        name: Amount(value=value, source=source)
        for source, stated in sources
        for name, value in ((getattr(stated, kind) or {}) if stated else {}).items()
    }
