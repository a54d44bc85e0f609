"""Recipe and selection to a plan: the steps, in an order in which each follows its needs."""

from __future__ import annotations

import os
import posixpath
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from coopery import placeholders
from coopery.dependencies import (
    DependencySet,
    ImagePlan,
    IndexOptions,
    Invocation,
    Layer,
    Lock,
)
from coopery.errors import BaseError, Problem, RecipeError, problem
from coopery.expanding import Node, Nodes
from coopery.images import Base, Blueprint
from coopery.model import HOST_PYTHON, Image, Instance, Recipe, Resources, Task
from coopery.options import LockPolicy
from coopery.selecting import ancestors
from coopery.steps import Delivery, Event, FileSource, Need, Step
from coopery.tasks import Begins, Bound, Channel, TaskWork

if TYPE_CHECKING:
    from coopery.glimpses import Glimpse
    from coopery.options import Settings
    from coopery.plugins import Plugins
    from coopery.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do: every step by name, each after those it needs.

    `targets` are the task instances that were asked for; the rest is there because they need it.
    Only `selected` steps may be performed; the others are there because what is selected depends
    on them, if only for its key.
    """

    recipe: Recipe
    runtime: str
    steps: Mapping[str, Step]
    targets: tuple[str, ...]
    lock: Lock
    selected: frozenset[str]
    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a plan that makes images for no task: by image, the steps whose results it consists of."""
    again: Callable[[Sequence[str]], tuple[str, ...]] = field(
        default=lambda tasks: ("coopery", "run", *tasks), compare=False, repr=False
    )
    """The command line that makes these tasks, with what this one was told and concerns them."""

    @property
    def order(self) -> dict[str, tuple[str, ...]]:
        """The selected steps, in order, with those they come after.

        Two of them that are joined through unselected ones only keep their order (O2).
        """
        found: dict[str, tuple[str, ...]] = {}
        through: dict[str, tuple[str, ...]] = {}
        for name, step in self.steps.items():
            if len(self.selected) == len(self.steps):
                found[name] = step.waits_for
                continue
            before: dict[str, None] = {}
            for need in step.waits_for:
                before.update(dict.fromkeys((need,) if need in self.selected else through[need]))
            (found if name in self.selected else through)[name] = tuple(before)
        return found


def dependency_sets(
    recipe: Recipe,
    images: Sequence[str],
    runtime: str,
    policy: LockPolicy,
    plugins: Plugins,
    settings: Settings,
    warn: Callable[[str], None] = lambda text: None,
    secrets: Secrets | None = None,
    known: dict[str, Base] | None = None,
) -> tuple[DependencySet, ...]:
    """What each of these images asks for, merged over all plugins; every problem at once.

    Bases of which all is known already are put into `known`, by image.
    """
    problems: list[Problem] = []
    sets = []
    based = plugins.wants_bases(runtime) if images else False
    for name in images:
        image = recipe.images[name]
        try:
            base = plugins.choose_base(recipe, image, settings, warn) if based else None
            parts = plugins.collect_requirements(
                recipe, image, settings.home, policy, settings=settings, secrets=secrets
            )
        except RecipeError as error:
            problems += error.problems
            continue
        index = IndexOptions()
        for part in parts:
            if part.index != IndexOptions():
                index = part.index
        sets.append(
            DependencySet(
                image=name,
                python=image.python or HOST_PYTHON,
                requirements=tuple(r for part in parts for r in part.requirements),
                locals=tuple(d for part in parts for d in part.locals),
                index=index,
                base=base if isinstance(base, str) else None,
                variant=next((part.variant for part in parts if part.variant), ""),
            )
        )
        if isinstance(base, Base) and known is not None:
            known[name] = base
    if problems:
        raise RecipeError(*dict.fromkeys(problems))
    return tuple(sets)


def lock(
    recipe: Recipe,
    images: Sequence[str],
    runtime: str,
    policy: LockPolicy,
    plugins: Plugins,
    settings: Settings,
) -> Lock:
    """The pins of these images; images that ask for nothing need no resolver."""

    def warn(text: str) -> None:
        plugins.observe([Event(kind="warning", time=time.time(), message=text)], settings)

    secrets = plugins.secrets(settings, recipe.confided)
    policy = policy if recipe.locked else LockPolicy.PREVIEW
    known: dict[str, Base] = {}
    sets = dependency_sets(recipe, images, runtime, policy, plugins, settings, warn, secrets, known)
    asked = any(s.requirements or s.locals or s.base for s in sets)
    if not asked and not recipe.lock_file.exists():
        return Lock(pins={s.image: () for s in sets}, bases=known)

    def tell(text: str) -> None:
        plugins.observe([Event(kind="message", time=time.time(), message=text)], settings)

    def inspect(reference: str) -> Base:
        renew = policy is LockPolicy.UPGRADE
        try:
            return plugins.inspect_base(
                recipe, reference, runtime, settings, tell, secrets, renew=renew
            )
        except BaseError as error:
            image = next(s.image for s in sets if s.base == reference)
            raise error.located(recipe.locate(("image", image, "base"))) from error

    found = plugins.resolve(recipe, sets, policy, settings.home, settings, tell, inspect, secrets)
    return replace(found, bases={**found.bases, **known}) if known else found


def images_of(nodes: Nodes, names: Sequence[str]) -> tuple[str, ...]:
    """The images that these instances and their ancestors run in, in recipe order."""
    used = {nodes[name].instance.task.image for name in ancestors(nodes, names)}
    return tuple(sorted(name for name in used if name is not None))


def plan(
    recipe: Recipe,
    nodes: Nodes,
    targets: Sequence[str],
    lock: Lock,
    runtime: str,
    plugins: Plugins,
    settings: Settings,
    selected: Collection[str] | None = None,
) -> Plan:
    """The plan for these instances; of the tasks, only the `selected` ones may be performed.

    Raises RecipeError with every problem at once.
    """
    steps, images = _plan_images(
        recipe, images_of(nodes, targets), lock, runtime, plugins, settings
    )
    needed = ancestors(nodes, targets)
    problems: list[Problem] = []
    planner = TaskPlanner(recipe, lock, plugins, settings)
    for name in nodes:
        if name not in needed:
            continue
        node = nodes[name]
        image_name = node.instance.task.image
        try:
            invocation = planner.invocation(node.instance)
            step = task_step(node, invocation, images.get(image_name or ""), runtime, plugins)
        except RecipeError as error:
            problems += (p for p in error.problems if p not in problems)
            continue
        _add(steps, step)
    if problems:
        raise RecipeError(*problems)
    in_order = ordered(steps)
    return Plan(
        recipe=recipe,
        runtime=runtime,
        steps=in_order,
        targets=tuple(targets),
        lock=lock,
        selected=_with_images(in_order, needed if selected is None else selected),
    )


def plan_images(
    recipe: Recipe,
    images: Sequence[str],
    lock: Lock,
    runtime: str,
    plugins: Plugins,
    settings: Settings,
) -> Plan:
    """The plan that makes these images, for no task.

    Raises RecipeError with every problem at once.
    """
    steps, plans = _plan_images(recipe, images, lock, runtime, plugins, settings)
    made = {n: p.need.steps for n, p in plans.items() if p.need is not None}
    return plan_steps(recipe, steps.values(), lock, runtime, made)


def plan_steps(
    recipe: Recipe,
    steps: Iterable[Step],
    lock: Lock,
    runtime: str,
    made: Mapping[str, tuple[str, ...]] | None = None,
) -> Plan:
    """The plan that performs these steps, in whatever order they come; see `Plan.made`."""
    added: dict[str, Step] = {}
    for step in steps:
        _add(added, step)
    return Plan(
        recipe=recipe,
        runtime=runtime,
        steps=ordered(added),
        targets=(),
        lock=lock,
        selected=frozenset(added),
        made=made or {},
    )


def blueprint_of(
    recipe: Recipe, image: Image, lock: Lock, plugins: Plugins, settings: Settings
) -> Blueprint:
    """An image as a base and parts, whatever runs it. The lock must hold its base."""
    layers = plugins.add_layers(recipe, image, lock, settings.home)
    return _render(recipe, image, layers, lock, plugins, settings)


def _plan_images(
    recipe: Recipe,
    names: Sequence[str],
    lock: Lock,
    runtime: str,
    plugins: Plugins,
    settings: Settings,
) -> tuple[dict[str, Step], dict[str, ImagePlan]]:
    """The steps that make images, and by image what tasks need of it; every problem at once."""
    steps: dict[str, Step] = {}
    plans: dict[str, ImagePlan] = {}
    problems: list[Problem] = []
    for name in names:
        image = recipe.images[name]
        try:
            layers = plugins.add_layers(recipe, image, lock, settings.home)
            render = partial(_render, recipe, image, layers, lock, plugins, settings)
            planned = plugins.plan_image(recipe, image, layers, runtime, render)
        except RecipeError as error:
            problems += error.problems
            continue
        plans[name] = _with_env(image, planned)
        for step in (*(s for layer in layers for s in layer.steps), *planned.steps):
            _add(steps, step)
    if problems:
        raise RecipeError(*dict.fromkeys(problems))
    return steps, plans


def _render(
    recipe: Recipe,
    image: Image,
    layers: Sequence[Layer],
    lock: Lock,
    plugins: Plugins,
    settings: Settings,
) -> Blueprint:
    return plugins.render_image(
        recipe, image, layers, lock.bases[image.name], settings.home, settings
    )


def _with_images(steps: Mapping[str, Step], tasks: Iterable[str]) -> frozenset[str]:
    """These tasks, and the steps behind them that are no tasks: wheels, environments."""
    found: set[str] = set()
    stack = [name for name in tasks if name in steps]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [n for n in steps[name].waits_for if steps[n].work.kind != "task"]
    return frozenset(found)


def _with_env(image: Image, planned: ImagePlan) -> ImagePlan:
    return replace(planned, env={**image.env, **planned.env}) if image.env else planned


def _add(steps: dict[str, Step], step: Step) -> None:
    other = steps.setdefault(step.name, step)
    if other is not step and other != step:
        message = f"two different steps are called {step.name!r}"
        raise RecipeError(problem("duplicate-step", message, hint="give the images other names"))


def ordered(steps: Mapping[str, Step]) -> dict[str, Step]:
    """The steps such that each follows its needs, else in the order given. Without recursion."""
    waiting = {name: set(step.waits_for) for name, step in steps.items()}
    readers: dict[str, list[str]] = {name: [] for name in steps}
    for name, needs in waiting.items():
        for need in needs:
            readers[need].append(name)
    result: dict[str, Step] = {}
    ready = [name for name, needs in waiting.items() if not needs]
    for name in ready:
        result[name] = steps[name]
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                ready.append(reader)
    assert len(result) == len(steps), "the expansion refuses cycles"
    return result


class TaskPlanner:
    """Plans the tasks of a recipe, of which a lock says what their images begin with."""

    def __init__(self, recipe: Recipe, lock: Lock, plugins: Plugins, settings: Settings) -> None:
        self._recipe = recipe
        self._lock = lock
        self._plugins = plugins
        self._settings = settings
        self._secrets = plugins.secrets(settings, recipe.confided)

    def _tell(self, text: str) -> None:
        event = Event(kind="message", time=time.time(), message=text)
        self._plugins.observe([event], self._settings)

    def _look(self, reference: str, paths: Sequence[str]) -> Glimpse:
        from coopery.logins import host_of, login_at

        login = login_at(self._recipe, host_of(reference))
        return self._plugins.look_into_image(
            reference, paths, self._settings, self._tell, self._secrets, login
        )

    def invocation(self, instance: Instance) -> Invocation:
        """What an instance runs. Raises RecipeError with all that does not fit."""
        return self._plugins.plan_task(
            self._recipe, instance, self._lock, self._settings, self._look
        )


def task_step(
    node: Node,
    invocation: Invocation,
    image: ImagePlan | None,
    runtime: str,
    plugins: Plugins,
) -> Step:
    """The step of one task instance, which runs what the `invocation` says."""
    task = node.instance.task
    env = {
        name: placeholders.render(placeholders.parse(text), node.values)
        for name, text in task.env.items()
    }
    files = image.files if image else ()
    facets = (*_keyed_facets(task, plugins), *_said_besides(node, invocation))
    limits = above(task.resources, invocation.limits)
    mounts = invocation.mounts

    def seen_as(name: str, base: str) -> str:
        # What its template mounts is called so, whatever it is called here.
        return posixpath.basename(mounts[name]) if name in mounts else base

    command = invocation.command
    if invocation.by_python and image and image.python:
        command = (image.python.replace("{", "{{").replace("}", "}}"), *command[1:])
    work = TaskWork(
        command=command,
        shown=invocation.shown,
        aux=invocation.aux,
        aux_digests=tuple((aux.name, aux.keyed) for aux in invocation.aux if aux.keyed is not None),
        params=task.params,
        coords=node.instance.coords,
        env={**(image.env if image else {}), **invocation.env, **env},
        pass_env={name: os.environ.get(name) for name in task.pass_env},
        secrets=task.secrets,
        inputs=tuple(
            Channel(name=name, base=seen_as(name, bound.base), mount=mounts.get(name, bound.mount))
            for name, bound in sorted(node.inputs.items())
        ),
        outputs=tuple(
            Channel(
                name=name,
                base=seen_as(name, bound.base),
                folder=bound.folder or name in mounts,
                mount=mounts.get(name, bound.mount),
                whole=name in mounts,
            )
            for name, bound in sorted(node.outputs.items())
        ),
        host=None if image else _host(),
        facets=facets,
        runtime=runtime,
        sources=tuple(path for path, _ in files),
        timeout=task.timeout,
        resources=limits,
        scaling=invocation.scaling,
        skip_codes=invocation.skip_codes,
    )
    needs = [
        Need(role=sys.intern(f"input {name}"), source=bound.source, name=seen_as(name, bound.base))
        for name, bound in sorted(node.inputs.items())
        if not bound.bind
    ]
    needs += [replace(need, role=f"source {path}") for path, need in files]
    if image and image.need:
        needs.append(replace(image.need, role="image"))
    return Step(
        name=node.name,
        subject=node.name,
        work=work,
        needs=tuple(needs),
        outputs=tuple(sorted(name for name, bound in node.outputs.items() if not bound.bind)),
        always=task.always,
        retries=task.retries,
        resources=above(task.resources, above(invocation.requests, invocation.limits)).amounts,
        by_data=invocation.scaling is not None,
        priority=task.priority,
        transient=frozenset(n for n, bound in node.outputs.items() if bound.transient),
        deliveries=tuple(
            Delivery(
                output=name,
                destination=bound.destination,
                key=("task", task.name, "outputs", name),
            )
            for name, bound in sorted(node.outputs.items())
            if bound.destination and not bound.bind
        ),
        notes=(
            *(() if image else ("unpinned",)),
            *(image.notes if image else ()),
            *(note for facet in facets for note in getattr(facet, "notes", ())),
        ),
        key_path=("task", task.name),
    )


def _said_besides(node: Node, invocation: Invocation) -> Iterator[object]:
    """What is in the key of few tasks: channels that are used where they are, and a folder."""
    bound = Bound(
        inputs={
            name: str(channel.source.path)
            for name, channel in sorted(node.inputs.items())
            if channel.bind and isinstance(channel.source, FileSource)
        },
        outputs={
            name: str(channel.destination)
            for name, channel in sorted(node.outputs.items())
            if channel.bind
        },
    )
    if bound.inputs or bound.outputs:
        yield bound
    if invocation.workdir is not None:
        yield Begins(workdir=invocation.workdir)


def above(first: Resources | None, below: Resources | None) -> Resources:
    """What the first says of each resource, else the other."""
    if first is None or below is None:
        return first or below or Resources()
    return Resources(
        cpu=below.cpu if first.cpu is None else first.cpu,
        memory=below.memory if first.memory is None else first.memory,
        gpu=first.gpu or below.gpu,
        shm=below.shm if first.shm is None else first.shm,
        others={**below.others, **first.others},
    )


def _keyed_facets(task: Task, plugins: Plugins) -> tuple[object, ...]:
    """What a task says by keys of plugins, besides what it runs (which the command is made of)."""
    if len(task.facets) < 2:
        return ()  # every task has what it runs; most have nothing else
    kinds = tuple(
        facet.type
        for facet in plugins.declare_facets()
        if facet.noun == "task" and facet.keyed and not facet.action
        if isinstance(facet.type, type)
    )
    return tuple(facet for facet in task.facets if isinstance(facet, kinds))


def _host() -> str:
    """Platform and Python of this machine: part of what a task without an image runs in."""
    import platform

    return f"{platform.system()}-{platform.machine()} python{HOST_PYTHON}"


def fill_command(
    items: Sequence[str], instance: Instance, aux: Sequence[str] = ()
) -> tuple[str, ...]:
    """A command's items with `{matrix.X}` and `{params.X}` filled in; the other placeholders stay.

    Items come back in placeholder syntax, with `{{` for braces.
    """
    from coopery.expanding import values_of

    values = values_of(instance)
    return tuple(
        placeholders.unparse(placeholders.fill(placeholders.parse(item), values))
        if "{" in item or "}" in item
        else item
        for item in items
    )
