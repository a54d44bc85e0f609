"""The commands `dockerfile`, `context` and `pack`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from coopery import planning
from coopery.commands import Context, table
from coopery.errors import Problem, RecipeError, nearest
from coopery.images import Blueprint
from coopery.opening import Opened, Request, open_recipe
from coopery.options import LockPolicy, Settings
from coopery.selecting import matching
from coopery.session import open_store, policy_of, run_plan
from coopery.steps import Event
from coopery_images.archives import TaskPart, archive_step, as_invoked, task_part
from coopery_images.dockerfile import dockerfile_of

if TYPE_CHECKING:
    from coopery.dependencies import Lock
    from coopery.expanding import Node
    from coopery.running import Report
    from coopery.steps import Step, Store


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a command is about: an image, or a task in its image, with all that is known of it."""

    name: str
    opened: Opened
    request: Request
    settings: Settings
    runtime: str
    lock: Lock
    blueprint: Blueprint
    node: Node | None
    part: TaskPart


def print_dockerfile(context: Context) -> int:
    """`coopery dockerfile IMAGE`."""
    subject = subject_of(context, tasks=False)
    text = dockerfile_of(subject.blueprint, buildkit=context.arguments.buildkit)
    context.print(text.rstrip("\n"))
    return 0


def pack(context: Context) -> int:
    """`coopery pack IMAGE|TASK`."""
    from coopery_images import listing

    given = context.arguments.output
    if given and not (Path.cwd() / given).parent.is_dir():
        message = f"--output: there is no folder {(Path.cwd() / given).parent}"
        hint = "make it first, or name a file in one that is there"
        raise RecipeError(Problem(slug="bad-option", message=message, hint=hint))
    subject = subject_of(context, overwrite=context.arguments.overwrite)
    given = given or f"{subject.name}.tar.gz"
    destination = (Path.cwd() / given).absolute()
    if destination.is_dir():
        destination /= f"{subject.name}.tar.gz"
    step = archive_step(subject.name, subject.blueprint, subject.node, subject.part, destination)
    with open_store(context.plugins, subject.settings) as store:
        report = _perform(context, subject, (*subject.blueprint.steps, step), store)
        if report.exit_code == 0:
            listed = listing.list_context(
                subject.blueprint, subject.node, subject.part, report.outcomes, store
            )
            for warning in listing.warnings(listed, listing.limit_of(subject.settings)):
                context.tell(f"warning: {warning}")
            found = report.outcomes[step.name].outputs["archive"]
            document = {"archive": str(destination), "sha256": found.digest, "size": found.size}
            context.answer(document, str(destination))
        return report.exit_code


def print_context(context: Context) -> int:
    """`coopery context IMAGE|TASK`."""
    from coopery_images import listing

    subject = subject_of(context)
    with open_store(context.plugins, subject.settings) as store:
        report = _perform(context, subject, subject.blueprint.steps, store)
        if report.exit_code:
            return report.exit_code
        found = listing.list_context(
            subject.blueprint, subject.node, subject.part, report.outcomes, store
        )
    limit = listing.limit_of(subject.settings)
    for warning in listing.warnings(found, limit):
        context.tell(f"warning: {warning}")
    context.answer(listing.document(found, limit), listing.text(found, table))
    return 0


def _perform(context: Context, subject: Subject, steps: Sequence[Step], store: Store) -> Report:
    plan = planning.plan_steps(subject.opened.recipe, steps, subject.lock, subject.runtime)
    policy = policy_of(subject.request, plan, subject.settings)

    def tell(events: Sequence[Event]) -> None:
        context.plugins.observe(events, subject.settings)

    return run_plan(plan, policy, store, context.plugins, subject.settings, tell).report


def subject_of(context: Context, *, tasks: bool = True, overwrite: bool = False) -> Subject:
    """Read the recipe, lock the image that is named or that a task runs in, and render it.

    Raises RecipeError (`unknown-image`, `unknown-target`, `one-task`, `no-image`,
    `runtime-without-images`).
    """
    plugins, given = context.plugins, context.arguments.subject
    settings = context.settings
    policy = LockPolicy.LOCKED if _value(settings, "locked") else LockPolicy.RENEW
    request = Request(
        bases=True,
        file=context.arguments.file,
        overwrite=overwrite,
        lock=policy,
        fail_fast=bool(_value(settings, "fail_fast")),
        capacity=cast("tuple[str, ...]", _value(settings, "capacity") or ()),
        priority=cast("int", _value(settings, "priority") or 0),
    )
    opened = open_recipe(request, plugins, settings)
    warnings = [Event(kind="warning", time=time.time(), message=str(p)) for p in opened.warnings]
    plugins.observe(warnings, settings)
    recipe = opened.recipe
    image, node = _named(opened, given, tasks=tasks)
    lock = planning.lock(recipe, (image,), opened.runtime, policy, plugins, settings)
    blueprint = planning.blueprint_of(recipe, recipe.images[image], lock, plugins, settings)
    part = TaskPart()
    if node is not None:
        planner = planning.TaskPlanner(recipe, lock, plugins, settings)
        invocation = planner.invocation(node.instance)
        node = as_invoked(node, invocation)
        part = task_part(node, invocation, recipe.root)
    return Subject(
        name=node.name if node else image,
        opened=opened,
        request=request,
        settings=settings,
        runtime=opened.runtime,
        lock=lock,
        blueprint=blueprint,
        node=node,
        part=part,
    )


def _value(settings: Settings, name: str) -> object:
    """The value of an option, whatever plugin declares it."""
    return next((t[name].value for t in settings.values.values() if name in t), None)


def _named(opened: Opened, given: str, *, tasks: bool) -> tuple[str, Node | None]:
    """The image of this name, or the one task instance with its image."""
    images, nodes = opened.recipe.images, opened.nodes
    if given in images:
        return given, None
    if not tasks:
        message, hint = f"there is no image {given!r}", nearest(given, images)
        raise RecipeError(Problem(slug="unknown-image", message=message, hint=hint))
    found = matching(given, nodes)
    if not found:
        message = f"there is no image and no task {given!r}"
        hint = nearest(given, [*images, *opened.recipe.tasks])
        raise RecipeError(Problem(slug="unknown-target", message=message, hint=hint))
    if len(found) > 1:
        message = f"{given!r} names {len(found)} instances of tasks; one is wanted"
        raise RecipeError(Problem(slug="one-task", message=message, hint=f"such as {found[0]}"))
    node = nodes[found[0]]
    image = node.instance.task.image
    if image is None:
        message = f"the task {node.name} runs in no image"
        hint = 'give it one: image = "NAME", declared under [image.NAME]'
        place = opened.recipe.locate(("task", node.instance.task.name))
        raise RecipeError(Problem(slug="no-image", message=message, place=place, hint=hint))
    return image, node
