"""The runtime `docker`: images and tasks in an engine that speaks the Docker API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.hooks import hookimpl
from coopery.recipes import Facet
from coopery_docker.facets import Container, check_elsewhere, check_tasks

if TYPE_CHECKING:
    from coopery.dependencies import ImagePlan
    from coopery.elsewhere import Holding, Kept
    from coopery.errors import Problem
    from coopery.findings import Finding
    from coopery.glimpses import Glimpse
    from coopery.images import Base, Blueprint
    from coopery.model import Recipe
    from coopery.options import Settings
    from coopery.secrets import Secrets
    from coopery.steps import Made, Step, Workspace

NAME = "docker"


@hookimpl
def runtime_names() -> Sequence[str]:
    """`docker`."""
    return [NAME]


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`container` of a task."""
    doc = "How the task's container differs from the safe default."
    return [Facet(noun="task", key="container", type=Container, doc=doc)]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """What cannot be run in containers; and what can be honoured nowhere else."""
    return check_tasks(recipe) if runtime == NAME else check_elsewhere(recipe, runtime)


@hookimpl(trylast=True)
def wants_bases(runtime: str) -> bool | None:
    """Images are a base and parts upon it."""
    return True if runtime == NAME else None


@hookimpl(trylast=True)
def inspect_base(
    recipe: Recipe,
    reference: str,
    runtime: str,
    settings: Settings,
    tell: Callable[[str], None],
    secrets: Secrets,
    renew: bool,
) -> Base | None:
    """What a base image is, as the engine has or pulls it."""
    if runtime != NAME:
        return None
    from coopery.logins import host_of, login_at
    from coopery_docker.bases import inspect_base as inspect

    given = login_at(recipe, host_of(reference))
    return inspect(reference, settings.home, tell, renew=renew, given=given, secrets=secrets)


@hookimpl
def look_into_image(
    reference: str, paths: Sequence[str], settings: Settings, tell: Callable[[str], None]
) -> Glimpse | None:
    """An image that the engine has. Not `trylast`: it comes before what a registry has."""
    from coopery_docker.glimpses import look

    return look(reference, tuple(paths), settings.home, tell)


@hookimpl(trylast=True)
def plan_image(runtime: str, render: Callable[[], Blueprint]) -> ImagePlan | None:
    """An image becomes one of the engine, built part by part; tasks need the last."""
    if runtime != NAME:
        return None
    from coopery.dependencies import ImagePlan
    from coopery.images import plan_builds
    from coopery.steps import Need, StepSource

    blueprint = render()
    builds = plan_builds(blueprint, NAME)
    source = StepSource(step=builds[-1].name, output="image")
    need = Need(role="image", source=source)
    # What coopery builds has its `python` in the PATH; an image of others may have it anywhere.
    python = None if blueprint.parts else blueprint.base.executable
    return ImagePlan(steps=(*blueprint.steps, *builds), need=need, python=python)


@hookimpl(trylast=True)
def perform(step: Step, workspace: Workspace) -> Made | None:
    """Build a part of an image, or run a task."""
    from coopery.images import ImageBuild, ImagePull
    from coopery.tasks import TaskWork

    match step.work:
        case ImageBuild(runtime="docker") as work:
            from coopery_docker.images import build_image

            return build_image(work, workspace)
        case ImagePull(runtime="docker") as work:
            from coopery_docker.images import have_image

            return have_image(work, workspace)
        case TaskWork(runtime="docker") as work:
            from coopery_docker.tasks import run_task

            return run_task(work, workspace)
    return None


@hookimpl
def find_gone(made: Sequence[tuple[Step, Path]]) -> Iterable[str]:
    """The images that the engine has no more."""
    from coopery.images import ImageBuild, ImagePull

    ours = {
        step.name: folder
        for step, folder in made
        if isinstance(step.work, ImageBuild | ImagePull) and step.work.runtime == NAME
    }
    if not ours:
        return ()  # no engine is asked for nothing
    from coopery_docker.looking import find_gone as look

    return look(ours)


@hookimpl
def weigh(home: Path, places: Mapping[str, Path]) -> Iterable[Holding]:
    """The images of this home in the engine; where there never were any, no engine is asked."""
    from coopery_docker import keeping

    return keeping.weigh(home, places)


@hookimpl(trylast=True)
def let_go(kind: str, kept: Kept) -> bool | None:
    """An image that nobody needs."""
    from coopery_docker import keeping

    return keeping.let_go(kept) if kind == keeping.KIND else None


@hookimpl(trylast=True)
def push_image(
    recipe: Recipe,
    step: Step,
    folder: Path,
    reference: str,
    tell: Callable[[str], None],
    secrets: Secrets,
) -> str | None:
    """Have the engine push an image."""
    from coopery.images import ImageBuild, ImagePull
    from coopery.logins import host_of, login_at

    match step.work:
        case ImageBuild(runtime="docker") | ImagePull(runtime="docker"):
            from coopery_docker.pushing import push

            return push(folder, reference, login_at(recipe, host_of(reference)), secrets, tell)
    return None


@hookimpl(trylast=True)
def open_shell(step: Step, workspace: Workspace) -> int | None:
    """A shell in a container like the task's."""
    from coopery.tasks import TaskWork

    match step.work:
        case TaskWork(runtime="docker") as work:
            from coopery_docker.shells import run_shell

            return run_shell(work, workspace)
    return None


@hookimpl
def diagnose(home: Path, mend: bool, quick: bool) -> Iterable[Finding]:
    """Whether an engine answers, and what dead runs left in it."""
    from coopery_docker.notes import runs_noted

    if quick and not runs_noted(home):
        return ()  # no run was killed: the rest, which takes long to import, is not needed
    from coopery_docker import leftovers

    return leftovers.quick(home) if quick else leftovers.thorough(home, mend=mend)
