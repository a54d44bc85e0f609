"""Projects and wheel files of an image: checked, described to the lock, built, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coopery.hooks import hookimpl
from coopery.model import Git, Project
from coopery.options import option
from coopery.recipes import Facet
from coopery_wheels.nouns import Gits, Projects, Wheels

if TYPE_CHECKING:
    from coopery.dependencies import Contribution, Layer, Lock
    from coopery.errors import Problem
    from coopery.model import Image, Recipe
    from coopery.options import LockPolicy, Settings
    from coopery.secrets import Secrets
    from coopery.steps import Made, Step, Workspace


@dataclass(frozen=True)
class WheelOptions:
    """Where the wheels of projects come from."""

    wheels: Literal["release", "editable"] | None = option(
        None,
        help="take every project in this mode, whatever the recipe says: its published wheel, or "
        "one built from its tree",
        metavar="MODE",
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--wheels`."""
    return [WheelOptions]


@hookimpl
def declare_facets() -> list[Facet]:
    """The keys `projects`, `wheels` and `git` of images."""
    return [
        Facet(
            noun="image",
            key="projects",
            type=tuple[Project, ...],
            wrap=Projects,
            keyed=False,
            doc="Python source trees, bundled as wheels",
        ),
        Facet(
            noun="image",
            key="wheels",
            type=tuple[str, ...],
            wrap=Wheels,
            keyed=False,
            doc="wheel files",
        ),
        Facet(
            noun="image",
            key="git",
            type=tuple[Git, ...],
            wrap=Gits,
            keyed=False,
            doc="Python packages in git repositories, bundled as wheels",
        ),
    ]


@hookimpl
def check(recipe: Recipe) -> Iterator[Problem]:
    """Every path, project and wheel file that cannot work, before anything runs."""
    for image in recipe.images.values():
        if image.facet(Projects) or image.facet(Wheels):
            from coopery_wheels import checks

            yield from checks.check(recipe, image)
        if image.facet(Gits):
            from coopery_wheels import gits

            yield from gits.check(image)


@hookimpl(trylast=True)
def collect_requirements(
    recipe: Recipe,
    image: Image,
    home: Path,
    policy: LockPolicy,
    before: Sequence[Contribution],
    settings: Settings,
    secrets: Secrets,
) -> Contribution | None:
    """The distributions that come from projects and wheel files, with what they require; and the
    requirements on repositories.
    """
    if not (image.facet(Projects) or image.facet(Wheels) or image.facet(Gits)):
        return None
    from coopery.options import LockPolicy
    from coopery_wheels import planning

    mode = settings.get(WheelOptions).wheels
    # A lock takes static metadata as it stands: no backend, no index. A run builds in any case.
    probed = policy is LockPolicy.RENEW
    return planning.contribution(recipe, image, home, before, mode, probed=probed, secrets=secrets)


@hookimpl
def add_layers(recipe: Recipe, image: Image, lock: Lock, home: Path) -> Iterable[Layer]:
    """The layer of wheels, with the steps that make them."""
    in_git = any((pin.url or "").startswith("git+") for pin in lock.pins.get(image.name, ()))
    if not (image.facet(Projects) or image.facet(Wheels) or in_git):
        return ()
    from coopery_wheels import layers

    return layers.layers(recipe, image, lock, home)


@hookimpl(trylast=True)
def perform(step: Step, workspace: Workspace) -> Made | None:
    """Build a wheel, fetch it, or verify a given one; in any case it is repacked canonically."""
    from coopery_wheels.work import WheelBuild, WheelFile, WheelGit, WheelRelease

    if not isinstance(step.work, WheelBuild | WheelFile | WheelGit | WheelRelease):
        return None
    from coopery_wheels import performing

    return performing.perform(step.work, workspace)
