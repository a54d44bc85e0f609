"""Images: which base they begin with, their Dockerfiles, build contexts and archives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.commands import Command, Context
from coopery.hooks import hookimpl
from coopery.logins import Registries, RegistryLogin
from coopery.options import CoreOptions, option
from coopery.recipes import Facet
from coopery_images.nouns import BaseChoice, Families, Family, Gpu, Prebuilt

if TYPE_CHECKING:
    import argparse

    from coopery.dependencies import Layer
    from coopery.errors import Problem
    from coopery.images import Base, Blueprint
    from coopery.model import Image, Recipe
    from coopery.options import Settings
    from coopery.steps import Made, Step, Workspace


_WHOSE = "the runtime whose image it is (default: docker)"


@dataclass(frozen=True)
class ImageOptions:
    """What images begin with, and how large a build context may be without a warning."""

    base_version: tuple[str, ...] = option(
        (), help="take this version of a family of bases, or latest", metavar="FAMILY=VERSION"
    )
    context_limit: int = option(
        500,
        help="warn of build contexts that are larger, in megabytes",
        metavar="MB",
        performing=True,
        least=0,
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--base-version` and `--context-limit`."""
    return [ImageOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`dockerfile`, `context` and `pack`."""
    return [
        Command(
            name="dockerfile",
            help="print the Dockerfile of an image",
            run=_dockerfile,
            configure=_configure_dockerfile,
            options=(CoreOptions, ImageOptions),
            performing=False,
            runtime=_WHOSE,
        ),
        Command(
            name="context",
            help="list every file that goes into the build of an image, or of a task's",
            run=_context,
            configure=_configure_subject,
            json=True,
            options=(CoreOptions, ImageOptions),
            runtime=_WHOSE,
            epilog="What the image is made of is made first, as far as it is not remembered.",
        ),
        Command(
            name="pack",
            help="write an image, or a task in its image, as an archive for docker build",
            run=_pack,
            configure=_configure_pack,
            json=True,
            options=(CoreOptions, ImageOptions),
            runtime=_WHOSE,
            epilog="The archive is a .tar.gz that holds a Dockerfile and all that it copies; the "
            "same content is always the same bytes. `docker build - < FILE` builds it.",
        ),
    ]


def _configure_dockerfile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="IMAGE", help="the image")
    parser.add_argument(
        "--buildkit", action="store_true", help="with cache mounts, which BuildKit understands"
    )


def _configure_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="IMAGE|TASK", help="an image, or one task instance")


def _configure_pack(parser: argparse.ArgumentParser) -> None:
    _configure_subject(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write it (default: NAME.tar.gz)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file that coopery did not write"
    )


def _dockerfile(context: Context) -> int:
    from coopery_images.commands import print_dockerfile

    return print_dockerfile(context)


def _context(context: Context) -> int:
    from coopery_images.commands import print_context

    return print_context(context)


def _pack(context: Context) -> int:
    from coopery_images.commands import pack

    return pack(context)


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`base`, `gpu` and `prebuilt` of images, `family` and `registries` of the recipe."""
    return [
        Facet(
            noun="image",
            key="prebuilt",
            type=Prebuilt,
            keyed=False,
            alone=True,
            doc="An image to use as it is, pulled where it is not at hand; nothing is put upon it.",
        ),
        Facet(
            noun="recipe",
            key="registries",
            type=tuple[RegistryLogin, ...],
            wrap=Registries,
            keyed=False,
            doc="Who one is at registries of images, where Docker's configuration does not say it.",
        ),
        Facet(
            noun="image",
            key="base",
            type=BaseChoice,
            keyed=False,
            doc='The image to begin with: a reference, or `{ family = "NAME" }`.',
        ),
        Facet(
            noun="image",
            key="gpu",
            type=bool,
            wrap=lambda wanted: Gpu(wanted=wanted),
            keyed=False,
            doc="Begin with the base family `cuda` where no other base is named.",
        ),
        Facet(
            noun="recipe",
            key="family",
            type=Mapping[str, Family],
            wrap=lambda items: Families(items=items),
            keyed=False,
            doc="Families of base images: a template, and where its version comes from.",
        ),
    ]


@hookimpl
def check(recipe: Recipe) -> Iterable[Problem]:
    """References and families are well-formed, and there."""
    from coopery.logins import check_logins

    yield from check_logins(recipe)
    if recipe.facet(Families) or any(
        i.facet(BaseChoice) or i.facet(Prebuilt) for i in recipe.images.values()
    ):
        from coopery_images import bases

        yield from bases.check(recipe)


@hookimpl(trylast=True)
def choose_base(
    recipe: Recipe, image: Image, settings: Settings, warn: Callable[[str], None]
) -> str | Base | None:
    """What the recipe says, else `python:X.Y-slim`, or a CUDA base for GPUs."""
    from coopery_images import bases

    if prebuilt := image.facet(Prebuilt):
        return bases.prebuilt_base(prebuilt)
    return bases.choose(recipe, image, settings.get(ImageOptions).base_version, warn)


@hookimpl(trylast=True)
def render_image(
    recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base, settings: Settings
) -> Blueprint | None:
    """System packages, a tree of packages, one of own wheels, and sources, each upon the other."""
    from dataclasses import replace

    from coopery.logins import host_of, login_at
    from coopery_images import rendering

    limit = settings.get(ImageOptions).context_limit * 1_000_000
    render = rendering.render_prebuilt if image.facet(Prebuilt) else rendering.render
    found = render(recipe, image, layers, base, limit)
    return replace(found, login=login_at(recipe, host_of(base.reference)))


@hookimpl(trylast=True)
def perform(step: Step, workspace: Workspace) -> Made | None:
    """Make a tree of packages, or an archive."""
    from coopery_images.work import Archive, PackageTree

    match step.work:
        case PackageTree() as work:
            from coopery_images.trees import make_tree

            return make_tree(work, workspace)
        case Archive() as work:
            from coopery_images.archives import make_archive

            return make_archive(work, workspace)
    return None
