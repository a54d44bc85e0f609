"""The runtime `local`: tasks as processes of this machine, in cached virtual environments."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import Problem, problem
from coopery.hooks import hookimpl

if TYPE_CHECKING:
    from coopery.dependencies import ImagePlan, Layer
    from coopery.findings import Finding
    from coopery.model import Image, Recipe, Task
    from coopery.steps import Made, Step, Workspace

NAME = "local"


@hookimpl
def runtime_names() -> Sequence[str]:
    """`local`."""
    return [NAME]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """What this runtime cannot honour."""
    if runtime != NAME:
        return
    for image in recipe.images.values():
        if image.is_prebuilt:
            yield _check_prebuilt(recipe, image)
    for task in recipe.tasks.values():
        yield from _check_shm(task)
        yield from _check_hidden(recipe, task)
    yield from _check_mounts(recipe)


def _check_prebuilt(recipe: Recipe, image: Image) -> Problem:
    """An image that is used as it is, is not here; some of its tasks may do without it."""
    key = ("image", image.name, "prebuilt")
    users = [task for task in recipe.tasks.values() if task.image == image.name]
    if users and all(_needs_no_image(task) for task in users):
        message = f"the runtime {NAME} runs no containers: of {image.name!r} only what it says of "
        message += "its templates is used, and programs are those of this machine"
        found = problem("image-not-used", message, key=key, hint="use -r docker to run in it")
        return replace(found, warning=True)
    message = f"the runtime {NAME} runs no containers, and {image.name!r} is an image as it is"
    return problem("prebuilt-image", message, key=key, hint="use -r docker")


def _needs_no_image(task: Task) -> bool:
    return any(getattr(facet, "needs_image", True) is False for facet in task.facets)


def _check_hidden(recipe: Recipe, task: Task) -> Iterable[Problem]:
    """What a fixed path would hide of this machine; what it may hide nowhere is told elsewhere."""
    mounts = [*(x.mount for x in task.inputs.values()), *(x.mount for x in task.outputs.values())]
    if any(mounts):
        from coopery.fixed import check_mounts

        if any(True for _ in check_mounts(task)):
            return
    for name, output in task.outputs.items():
        folder = Path(output.mount or "/").parent
        # Not Path.exists, which raises for what is too long for a path.
        if output.mount and os.path.lexists(folder):
            # The folder is mounted, so that the task can make the output itself.
            message = f"the mount {output.mount!r} would hide all else in {folder} of this machine"
            key = ("task", task.name, "outputs", name)
            yield problem("bad-mount", message, key=key, hint=_OTHER_FOLDER)
    needed = [recipe.root.absolute(), Path(sys.prefix), Path(sys.base_prefix), Path.home()]
    for name, given in task.inputs.items():
        if given.mount and any(path.is_relative_to(given.mount) for path in needed):
            message = f"the mount {given.mount!r} would hide the project, coopery or its Python"
            key = ("task", task.name, "inputs", name)
            yield problem("bad-mount", message, key=key, hint=_OTHER_FOLDER)


_OTHER_FOLDER = (
    "choose a folder that this machine does not have, such as /out; or use -r docker, whose tasks "
    "see nothing of it"
)


def _check_mounts(recipe: Recipe) -> Iterable[Problem]:
    """Fixed paths need mounts; only where there are some, it is tried whether the system lets."""
    fixed = [
        ("task", task.name, noun, name)
        for task in recipe.tasks.values()
        for noun, channels in (("inputs", task.inputs), ("outputs", task.outputs))
        for name, channel in channels.items()
        if channel.mount
    ]
    if not fixed:
        return
    from coopery_local.namespaces import NO_MOUNTS, can_mount

    if not can_mount():
        for key in fixed:
            yield problem("no-mounts", NO_MOUNTS[0], key=key, hint=NO_MOUNTS[1])


def _check_shm(task: Task) -> Iterable[Problem]:
    if task.resources.shm is None:
        return
    from coopery_local.namespaces import can_mount, lacks_shm

    # Whom the system lets mount, gets a /dev/shm of any size.
    if (lack := lacks_shm(task.resources.shm)) and not can_mount():
        key = ("task", task.name, "resources", "shm")
        yield problem("no-shm", lack[0], key=key, hint=lack[1])


@hookimpl(trylast=True)
def plan_image(
    recipe: Recipe, image: Image, layers: Sequence[Layer], runtime: str
) -> ImagePlan | None:
    """An image becomes a virtual environment; its files are laid under each task's folder."""
    if runtime != NAME:
        return None
    from coopery_local.environments import plan_environment

    return plan_environment(recipe, image, layers)


@hookimpl(trylast=True)
def open_shell(step: Step, workspace: Workspace) -> int | None:
    """A shell in a task's scratch folder."""
    from coopery.tasks import TaskWork

    match step.work:
        case TaskWork(runtime="local") as work:
            from coopery_local.shells import run_shell

            return run_shell(work, workspace)
    return None


@hookimpl
def diagnose(home: Path, mend: bool, quick: bool) -> Iterable[Finding]:
    """Processes of tasks whose run was killed together with their supervisors."""
    from coopery.findings import Finding
    from coopery_local.strays import end_strays, find_strays, has_abandoned

    if quick and not has_abandoned(home):
        return
    if not quick:
        yield _look_at_mounts()
    for stray in end_strays(home) if mend else find_strays(home):
        what = f"process {stray.pid} of a run that was killed ({stray.command})"
        text = f"ended {what}" if mend else f"{what} lives on"
        hint = None if mend else "coopery doctor --mend ends it"
        yield Finding(subject="strays", state="warning", text=text, hint=hint, mended=mend)


def _look_at_mounts() -> Finding:
    """Whether tasks get views of the file system of their own."""
    from coopery.findings import Finding
    from coopery_local.namespaces import can_mount

    if can_mount():
        text = "inputs and environments of tasks are mounted read-only"
    else:
        text = (
            "mount namespaces are not allowed here: inputs of tasks are copied, and "
            "environments are looked over after each task"
        )
    return Finding(subject="mounts", state="ok", text=text)


@hookimpl(trylast=True)
def perform(step: Step, workspace: Workspace) -> Made | None:
    """Make an environment, or run a task."""
    from coopery.tasks import TaskWork
    from coopery_local.environments import Environment, make_environment

    match step.work:
        case Environment() as work:
            return make_environment(work, workspace)
        case TaskWork(runtime="local") as work:
            from coopery_local.tasks import run_task

            return run_task(work, workspace)
    return None
