"""A task of a template as what a runtime runs: the template's say, then the task's (K3, K10)."""

from __future__ import annotations

import os
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
from coopery.wording import JSON, RECIPE, speaking, spoken
from coopery_taskapi import TaskApiOptions, merging
from coopery_taskapi.finding import Look
from coopery_taskapi.merging import Amount, TaskInstance
from coopery_taskapi.models import CARDS, Binding, TaskVariable, Template, Volume
from coopery_taskapi.models import Task as TaskDocument
from coopery_taskapi.reading import custom_of
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
    words = JSON if recipe.locate(("task", task.name)).pointer else RECIPE
    with speaking(words):
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
        if recipe.taken_sets is None:
            message = "--specification is for a task.json, and this is another recipe"
            hint = 'give the image a `specification = "FILE"`'
            raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
        custom = custom_of(recipe.taken_sets)
        specified = specified_by(Path.cwd() / options.specification, custom)
        if image.is_prebuilt and image.name in lock.bases:
            own = specified_of(recipe, image, lock.bases[image.name], settings.home, look)
            specified = replace(own, container=specified.container, shown=specified.shown)
    elif use.inline and (use.command or use.inline.command) and image.name not in lock.bases:
        # No image is begun, and all that one could say is said: there is nothing to look for.
        specified = Specified(container=None, shown=use.image)
    else:
        specified = specified_of(recipe, image, lock.bases.get(image.name), settings.home, look)
    template = use.inline or _named(use, specified, task)
    values = values_of(instance)
    env = {
        name: placeholders.render(placeholders.parse(text), values)
        for name, text in task.env.items()
    }
    document = _document(instance.name, task, use, env)
    problems = [
        *_at_home(merging.check_fit(document, template), task),
        *_check_handed(task, template),
        *_check_names(task, template),
        *_check_mounts(task, template),
    ]
    if problems:
        raise RecipeError(*problems)
    merged = _with_own(merging.join(document, template), task.resources)
    limits, requests = _resources(merged.limits), _resources(merged.requests)
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


def misfits(task: Task, use: TemplateUse, specified: Specified) -> Iterator[Problem]:
    """What of a task fits no template of its image, whatever its placeholders will stand for."""
    try:
        template = use.inline or _named(use, specified, task)
    except RecipeError as error:
        yield from error.problems
        return
    defaults = {variable.name: variable.value for variable in template.env or ()}
    # A value that is not known yet is of the right type; that it may be set at all is looked at.
    env = {n: defaults.get(n, "") if "{" in text else text for n, text in task.env.items()}
    document = _document(task.name, task, use, env)
    yield from _at_home(merging.check_fit(document, template), task)
    yield from _check_handed(task, template)
    yield from _check_mounts(task, template)


def _document(name: str, task: Task, use: TemplateUse, settings: Mapping[str, str]) -> TaskDocument:
    """A recipe's task in the words of the format; where its data is, is not known yet."""
    return TaskDocument(
        name=name,
        image=use.image,
        taskTemplate=use.identifier,
        env=tuple(TaskVariable(name=name, value=value) for name, value in settings.items()),
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
        if side == "taskTemplate":
            inner = ("template",)
        elif side == "resources":
            inner = ("template", *key)
        elif len(key) > 1 and isinstance(key[1], int):
            inner = (side, names[side][key[1]])
            if key[-1] == "name" and spoken() is JSON:
                inner = (*inner, "name")
        yield replace(one, place=replace(one.place, key=("task", task.name, *inner)))


def _with_own(merged: TaskInstance, own: Resources) -> TaskInstance:
    """With what the recipe's task states by its own `resources`, which goes before all else: so
    much is kept free, and no more may be used, unless scale rules ask for more.
    """
    stated = {"cpu": own.cpu, "memory": own.memory, "shm": own.shm}
    said = {name: value for name, value in stated.items() if value is not None}
    limits = {name: Amount(value=value, source="task") for name, value in said.items()}
    return replace(
        merged,
        limits={**merged.limits, **limits},
        requests={name: one for name, one in merged.requests.items() if name not in said},
    )


def _check_handed(task: Task, template: Template) -> Iterator[Problem]:
    """A variable is what its template says it may be whatever way it would be given; of a secret
    it is not known here what it is.
    """
    own: KeyPath = ("task", task.name)
    for variable in template.env or ():
        name = variable.name
        value = os.environ.get(name) if name in task.pass_env else None
        if value is not None:
            yield from merging.check_setting(value, variable, (*own, "pass_env"))
        secret = task.secrets.get(name)
        if secret is not None and secret.how == "variable" and variable.adjustable is False:
            yield from merging.check_setting("", variable, (*own, "secrets", name))


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
    cards = max(values.pop(name, 0.0) for name in CARDS)
    return Resources(
        cpu=values.pop("cpu", None),
        memory=values.pop("memory", None),
        shm=values.pop("shm", None),
        gpu=int(cards),
        others=values,
    )
