"""The command `publish`: what is named, built where need be, and handed to who takes it there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import planning, selecting
from coopery.bundles import BuiltImage, Bundle, Parcel, Published
from coopery.commands import Context, table
from coopery.errors import MachineError, Problem, RecipeError, nearest
from coopery.opening import Opened, Request, open_recipe
from coopery.options import LockPolicy, Settings
from coopery.session import open_store, policy_of, run_plan
from coopery.steps import Event
from coopery_publish.bundling import make_bundle
from coopery_publish.freezing import FrozenTasks, freeze, image_table
from coopery_publish.keeping import scratch
from coopery_publish.references import is_tag

if TYPE_CHECKING:
    from coopery.dependencies import Lock
    from coopery.model import Recipe
    from coopery.planning import Plan
    from coopery.plugins import Plugins
    from coopery.steps import Store


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is published: the images by name, and the tasks of a bundle, if there is to be one."""

    images: tuple[str, ...]
    tasks: frozenset[str] | None
    named: frozenset[str] = frozenset()
    """The images that are meant themselves, and not only because tasks run in them."""


def run(context: Context) -> int:
    """`coopery publish [IMAGE|TASK…] --to TARGET`."""
    plugins, arguments = context.plugins, context.arguments
    tags = tuple(dict.fromkeys(arguments.tags))
    _check_tags(tags)
    settings = context.settings
    locked = next((t["locked"].value for t in settings.values.values() if "locked" in t), False)
    policy = LockPolicy.LOCKED if locked else LockPolicy.RENEW
    request = Request(file=arguments.file, lock=policy, bases=True)
    opened = open_recipe(request, plugins, settings)

    def observe(events: Sequence[Event]) -> None:
        plugins.observe(events, settings)

    def tell(text: str) -> None:
        observe([Event(kind="message", time=time.time(), message=text)])

    observe([Event(kind="warning", time=time.time(), message=str(p)) for p in opened.warnings])
    subject = subject_of(opened, tuple(arguments.subjects))
    recipe, runtime = opened.recipe, opened.runtime
    frozen = None
    if subject.tasks is not None:
        frozen = freeze(recipe, opened.nodes, subject.tasks, plugins)
    lock = planning.lock(recipe, subject.images, runtime, policy, plugins, settings)
    sent = tuple(n for n in subject.images if n in subject.named or not _as_it_is(recipe, lock, n))
    for name in set(subject.images) - set(sent):
        # Not to send it, but because functions that do not fit its Python are refused.
        planning.blueprint_of(recipe, recipe.images[name], lock, plugins, settings)
    plan = planning.plan_images(recipe, sent, lock, runtime, plugins, settings)
    secrets = plugins.secrets(settings)
    with open_store(plugins, settings) as store:
        build = _Build(context, opened, request, settings, plan, store, observe)
        if plan.steps and (code := build.run()):
            return code
        images = tuple(
            build.image(name, tell) if name in sent else _at_hand(name, lock)
            for name in subject.images
        )
        with scratch(settings.home) as made:
            parcel = Parcel(
                target=arguments.to,
                tags=tags,
                recipe=recipe,
                images=images,
                bundle=_bundler(frozen, opened, images, made),
            )
            done = plugins.publish(parcel, settings, tell, secrets)
    context.answer(_document(done), _text(done))
    return 0


def _check_tags(tags: Sequence[str]) -> None:
    wrong = [
        Problem(
            slug="bad-option",
            message=f"--tag {tag!r} is no tag",
            hint="letters, digits, `_`, `.` and `-`, at most 128, and no `.` or `-` first",
        )
        for tag in tags
        if not is_tag(tag)
    ]
    if wrong:
        raise RecipeError(*wrong)


def subject_of(opened: Opened, given: Sequence[str]) -> Subject:
    """What the arguments name; nothing named is all tasks.

    Tasks bring all that they need. Raises RecipeError (`unknown-target`, `nothing-to-publish`).
    """
    recipe, nodes = opened.recipe, opened.nodes
    images: dict[str, None] = {}
    instances: list[str] = [] if given else list(nodes)
    problems = []
    for name in given:
        if name in recipe.images:
            images[name] = None
        elif found := selecting.matching(name, nodes):
            instances += found
        else:
            message = f"there is no image and no task {name!r}"
            hint = nearest(name, [*recipe.images, *recipe.tasks])
            problems.append(Problem(slug="unknown-target", message=message, hint=hint))
    if problems:
        raise RecipeError(*problems)
    if not images and not instances:
        message = "the recipe has no task that could be published"
        raise RecipeError(Problem(slug="nothing-to-publish", message=message, hint="name an image"))
    if not instances:
        return Subject(images=tuple(images), tasks=None, named=frozenset(images))
    named = frozenset(images)
    tasks = _whole(opened, instances)
    for task in recipe.tasks.values():
        if task.name in tasks and task.image is not None:
            images[task.image] = None
    return Subject(images=tuple(images), tasks=tasks, named=named)


def _as_it_is(recipe: Recipe, lock: Lock, name: str) -> bool:
    """Whether an image is one of a registry, by its digest: nobody needs to send it."""
    return recipe.images[name].is_prebuilt and lock.bases[name].digest is not None


def _at_hand(name: str, lock: Lock) -> BuiltImage:
    base = lock.bases[name]

    def push(reference: str) -> str:
        raise AssertionError(f"{name} is not to be sent to {reference}")

    return BuiltImage(name=name, key=base.identity, base=base, push=push, pinned=base.pinned)


def _whole(opened: Opened, instances: Sequence[str]) -> frozenset[str]:
    """The tasks of these instances with all that any instance of them needs."""
    nodes = opened.nodes
    tasks = {nodes[name].instance.task.name for name in instances}
    while True:
        all_of = [name for name, node in nodes.items() if node.instance.task.name in tasks]
        found = {nodes[name].instance.task.name for name in selecting.ancestors(nodes, all_of)}
        if found == tasks:
            return frozenset(tasks)
        tasks = found


@dataclass
class _Build:
    """The images' plan, run once, and again for what the engine has lost meanwhile."""

    context: Context
    opened: Opened
    request: Request
    settings: Settings
    plan: Plan
    store: Store
    observe: Callable[[Sequence[Event]], None]

    def run(self, forced: Sequence[str] = ()) -> int:
        policy = policy_of(self.request, self.plan, self.settings)
        policy = replace(policy, forced=frozenset(forced))
        done = run_plan(
            self.plan, policy, self.store, self.context.plugins, self.settings, self.observe
        )
        if done.report.problems:
            raise MachineError(*done.report.problems)
        self.outcomes = done.report.outcomes
        return done.report.exit_code

    def image(self, name: str, tell: Callable[[str], None]) -> BuiltImage:
        """An image of the plan that was made; what it takes to push it waits until it must be."""
        made = self.plan.made[name][-1]
        base = self.plan.lock.bases[name]
        step = self.plan.steps[made]
        outcome = self.outcomes[made]
        plugins: Plugins = self.context.plugins

        def push(reference: str) -> str:
            folder = self.store.find(outcome.outputs["image"])
            if folder is None or plugins.find_gone([(step, folder)]):
                if self.run([made]):
                    message = f"the image {name!r} is gone, and could not be made again"
                    raise MachineError(Problem(slug="image-failed", message=message))
                folder = self.store.find(self.outcomes[made].outputs["image"])
            assert folder is not None, "it was made just now"
            secrets = plugins.secrets(self.settings)
            return plugins.push_image(self.opened.recipe, step, folder, reference, tell, secrets)

        return BuiltImage(name=name, key=outcome.key, base=base, push=push)


def _bundler(
    frozen: FrozenTasks | None,
    opened: Opened,
    images: Sequence[BuiltImage],
    scratch: Path,
) -> Callable[[Mapping[str, str]], Bundle] | None:
    if frozen is None:
        return None
    wanted = {opened.recipe.tasks[name].image for name in frozen.tables}

    def bundle(references: Mapping[str, str]) -> Bundle:
        tables = {}
        for image in images:
            if image.name not in wanted:
                continue
            noun = opened.recipe.images[image.name]
            # What coopery builds has its own in the PATH.
            executable = image.base.executable if noun.is_prebuilt else None
            tables[image.name] = image_table(noun, references[image.name], image.base, executable)
        return make_bundle(frozen, tables, opened.runtime, scratch)

    return bundle


def _document(done: Sequence[Published]) -> list[dict[str, object]]:
    return [
        {
            "kind": item.kind,
            "name": item.name or None,
            "reference": item.reference,
            "names": list(item.names),
            "sent": item.sent,
        }
        for item in done
    ]


def _text(done: Sequence[Published]) -> str:
    """The references, by which all of it can be had; alone where there is one."""
    if len(done) == 1:
        return done[0].reference
    return table([(" ".join(filter(None, (d.kind, d.name))), d.reference) for d in done])
