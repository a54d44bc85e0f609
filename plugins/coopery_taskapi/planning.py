"""A task of a template as what a runtime runs: the template's say, then the task's (K3, K10)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coopery import placeholders
from coopery.dependencies import Invocation, Lock
from coopery.errors import KeyPath, Problem, RecipeError, nearest, problem
from coopery.expanding import values_of
from coopery.model import Instance, Recipe, Resources, Task
from coopery.options import Settings
from coopery.planning import fill_command
from coopery.recipes import located
from coopery.wording import JSON, RECIPE, speaking
from coopery_taskapi import TaskApiOptions, merging
from coopery_taskapi.finding import Look
from coopery_taskapi.merging import Amount, TaskInstance
from coopery_taskapi.models import Binding, TaskVariable, Template, Volume
from coopery_taskapi.models import Task as TaskDocument
from coopery_taskapi.specifications import Specified, specified_by, specified_of
from coopery_taskapi.uses import TemplateUse

SKIPPED = 126
"""The exit code by which a container says that there is nothing for it to do."""
_OWN = ("/coopery", "/proc", "/sys", "/dev")
"""Folders of a container in which coopery, or the system, has what is its own."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What is to be known when the step is sized: the `instance`, without the paths of its data;
    with `monitor`, the size of each channel, too.
    """

    instance: TaskInstance
    monitor: bool = False


def invocation_of(
    recipe: Recipe, instance: Instance, lock: Lock, settings: Settings, look: Look
) -> Invocation | None:
    """What a task of a template runs; None for other tasks.

    Raises RecipeError with all that does not fit, where it stands in the recipe, and MachineError
    where the image cannot be looked into.
    """
    task = instance.task
    use = task.facet(TemplateUse)
    if use is None:
        return None
    spoken = JSON if recipe.locate(("task", task.name)).pointer else RECIPE
    with speaking(spoken):
        try:
            return _invocation(recipe, instance, use, lock, settings, look)
        except RecipeError as error:
            raise RecipeError(*(located(p, recipe.locate) for p in error.problems)) from None


def _invocation(
    recipe: Recipe,
    instance: Instance,
    use: TemplateUse,
    lock: Lock,
    settings: Settings,
    look: Look,
) -> Invocation:
    task, options = instance.task, settings.get(TaskApiOptions)
    image = recipe.images[task.image or ""]
    if options.specification is not None:
        if not recipe.takes_sets:
            message = "--specification is for a task.json, and this is another recipe"
            hint = 'give the image a `specification = "FILE"`'
            raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
        specified = specified_by(Path.cwd() / options.specification)
        if image.is_prebuilt and image.name in lock.bases:
            own = specified_of(recipe, image, lock.bases[image.name], settings.home, look)
            specified = replace(own, container=specified.container, shown=specified.shown)
    else:
        specified = specified_of(recipe, image, lock.bases.get(image.name), settings.home, look)
    template = use.inline or _named(use, specified, task)
    document = _document(instance, use)
    problems = [
        *_at_home(merging.check_fit(document, template), task),
        *_check_handed(task, template),
        *_check_names(task, template),
        *_check_mounts(task, template),
    ]
    if problems:
        raise RecipeError(*problems)
    merged = merging.join(document, template)
    limits, requests = _resources(merged.limits), _resources(merged.requests)
    problems += _check_amounts(limits, requests, task)
    command, shown = _command(merged, use, instance, specified)
    if not command:
        message = f"the template {template.identifier!r} has no command, and the image has none"
        hint = "give the template, or the task, a `command`"
        key: KeyPath = ("task", task.name, "template")
        problems.append(problem("no-command", message, key=key, hint=hint))
    if problems:
        raise RecipeError(*problems)
    return Invocation(
        command=command,
        shown=shown,
        env={s.name: s.value for s in merged.env if s.name not in task.env},
        mounts={c.name: c.mounted_path for c in (*merged.inputs, *merged.outputs)},
        limits=limits,
        requests=requests,
        workdir=specified.workdir,
        skip_codes=(SKIPPED,),
        scaling=Scaling(instance=merged, monitor=options.monitor_memory),
    )


def _named(use: TemplateUse, specified: Specified, task: Task) -> Template:
    """The template of the image that a task names. Raises RecipeError."""
    key: KeyPath = ("task", task.name, "template")
    if specified.container is None:
        message = f"the image {specified.shown} says nothing of what it can do"
        hint = "put a /processing-container.json into it, or give --specification FILE"
        raise RecipeError(problem("no-specification", message, key=key, hint=hint))
    templates = specified.container.templates
    known = [template.identifier for template in templates]
    if use.identifier not in known:
        message = f"{specified.container.name} has no template {use.identifier!r}"
        near = nearest(use.identifier, known) or ""
        hint = near if near.startswith("there is") else f"{near} There is: {', '.join(known[:12])}"
        raise RecipeError(problem("unknown-template", message, key=key, hint=hint))
    return templates[known.index(use.identifier)]


def _document(instance: Instance, use: TemplateUse) -> TaskDocument:
    """A recipe's task in the words of the format; where its data is, is not known yet."""
    task, values = instance.task, values_of(instance)
    env = {
        name: placeholders.render(placeholders.parse(text), values)
        for name, text in task.env.items()
    }
    return TaskDocument(
        name=instance.name,
        image=use.image,
        taskTemplate=use.identifier,
        env=tuple(TaskVariable(name=name, value=value) for name, value in env.items()),
        inputs=_bindings(task.inputs, use),
        outputs=_bindings(task.outputs, use),
        command=use.command,
        resources=use.resources,
    )


def _bindings(channels: Mapping[str, Any], use: TemplateUse) -> tuple[Binding, ...]:
    nowhere = Volume(host_path="")
    rules = use.scale_rule
    return tuple(
        Binding(name=name, volume_source=nowhere, scale_rule=rules.get(name)) for name in channels
    )


def _at_home(found: Sequence[Problem], task: Task) -> Iterator[Problem]:
    """Problems of a document of the format, at the keys of the recipe's task that it stands for."""
    names = {"env": list(task.env), "inputs": list(task.inputs), "outputs": list(task.outputs)}
    for one in found:
        key = one.place.key
        side = str(key[0])
        inner: KeyPath = (side,)
        if len(key) > 1 and isinstance(key[1], int):
            inner = (side, names[side][key[1]])
        yield replace(one, place=replace(one.place, key=("task", task.name, *inner)))


def _check_handed(task: Task, template: Template) -> Iterator[Problem]:
    """A variable that is not adjustable is so whatever way it would be given."""
    fixed = {v.name: v.value for v in template.env or () if v.adjustable is False}
    given: dict[str, KeyPath] = dict.fromkeys(task.pass_env, ("pass_env",))
    given |= {
        name: ("secrets", name) for name, secret in task.secrets.items() if secret.how == "variable"
    }
    for name, key in given.items():
        if name in fixed:
            message = f"{name} is not adjustable: it is {fixed[name]!r}"
            hint = "take it out of the task; or have the template say that it is adjustable"
            yield problem("not-adjustable", message, key=("task", task.name, *key), hint=hint)


def _check_names(task: Task, template: Template) -> Iterator[Problem]:
    """What coopery tells a task by its own variables, an image must not tell otherwise."""
    for variable in template.env or ():
        if variable.name.startswith("COOPERY_"):
            message = f"the template sets {variable.name!r}, and COOPERY_ is coopery's own"
            hint = "give the variable another name in the template"
            key: KeyPath = ("task", task.name, "template")
            yield problem("bad-variable", message, key=key, hint=hint)


def _check_mounts(task: Task, template: Template) -> Iterator[Problem]:
    sides = (("inputs", task.inputs), ("outputs", task.outputs))
    for side, channels in sides:
        for mount in getattr(template, side) or ():
            path = mount.mounted_path
            own = next((top for top in _OWN if f"{path}/".startswith(f"{top}/")), None)
            key: KeyPath = ("task", task.name, side, mount.name)
            if own is not None:
                message = f"the template mounts {mount.name!r} in {own}, which is not for data"
                hint = "give it another `mounted_path` in the template"
                yield problem("bad-mount", message, key=key, hint=hint)
            given = channels.get(mount.name)
            if given is not None and given.mount is not None:
                message = f"the template says where {mount.name!r} is mounted: {path}"
                hint = "leave `mount` out"
                yield problem("bad-mount", message, key=(*key, "mount"), hint=hint)


def _command(
    merged: TaskInstance, use: TemplateUse, instance: Instance, specified: Specified
) -> tuple[tuple[str, ...], str]:
    """What is run, as items with placeholders, and as people read it."""
    if use.command is not None:
        items = fill_command(use.command, instance)
    else:
        own = specified.own_command if merged.command is None else merged.command
        items = tuple(item.replace("{", "{{").replace("}", "}}") for item in own)
    plain = [item.replace("{{", "{").replace("}}", "}") for item in items]
    return items, shlex.join(plain)


def _resources(amounts: Mapping[str, Amount]) -> Resources:
    """Amounts by the names that Kubernetes has for them, as a task's resources."""
    values = {name: amount.value for name, amount in amounts.items()}
    cards = values.pop("gpu", 0.0)
    cards = max(cards, values.pop("nvidia.com/gpu", 0.0))
    return Resources(
        cpu=values.pop("cpu", None),
        memory=values.pop("memory", None),
        shm=values.pop("shm", None),
        gpu=int(cards),
        others=values,
    )


def _check_amounts(limits: Resources, requests: Resources, task: Task) -> Iterator[Problem]:
    """Of nothing is more kept free than may be used."""
    most = limits.amounts
    for name, wanted in requests.amounts.items():
        if name in most and wanted > most[name]:
            message = f"it asks for {wanted:g} of {name}, and its limit is {most[name]:g}"
            key: KeyPath = ("task", task.name, "template")
            hint = "raise the limit, or ask for less"
            yield problem("request-above-limit", message, key=key, hint=hint)
