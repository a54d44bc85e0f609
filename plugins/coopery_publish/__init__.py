"""Publishing: images and bundles of tasks to registries, and recipes out of bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.commands import Command, Context
from coopery.hooks import hookimpl
from coopery.options import CoreOptions, option

# This module is loaded for every command; what only few need is imported where they run.
if TYPE_CHECKING:
    import argparse

    from coopery.bundles import Parcel, Published
    from coopery.glimpses import Glimpse
    from coopery.logins import RegistryLogin
    from coopery.options import Settings
    from coopery.recipes import Document
    from coopery.secrets import Secrets


@dataclass(frozen=True)
class BundleOptions:
    """How much is taken from a registry."""

    bundle_limit: int = option(
        10_000,
        help="refuse bundles of tasks that are larger, in megabytes",
        metavar="MB",
        reading=True,
        least=0,
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--bundle-limit`."""
    return [BundleOptions]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`publish`."""
    return [
        Command(
            name="publish",
            help="send images, or tasks with all that they need, to a registry",
            run=_publish,
            configure=_configure,
            json=True,
            options=(CoreOptions,),
            epilog="Without IMAGE or TASK, all tasks are published, as one bundle, with their "
            "images. The answer is what each can be had by from now on: "
            "`coopery run -f REFERENCE` runs a bundle.",
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subjects", nargs="*", metavar="IMAGE|TASK", help="what to publish (default: all tasks)"
    )
    parser.add_argument(
        "--to", required=True, metavar="REGISTRY/NAME", help="the repository to send it to"
    )
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        metavar="TAG",
        help="a name for it, beside the one made of its content (may be given several times)",
    )


def _publish(context: Context) -> int:
    from coopery_publish.commands import run

    return run(context)


@hookimpl(trylast=True)
def publish(
    parcel: Parcel, tell: Callable[[str], None], secrets: Secrets
) -> Sequence[Published] | None:
    """To a registry, which is named without a scheme."""
    if "://" in parcel.target:
        return None
    from coopery_publish import publishing

    return publishing.publish(parcel, tell, secrets)


@hookimpl(trylast=True)
def look_into_image(
    reference: str,
    paths: Sequence[str],
    tell: Callable[[str], None],
    secrets: Secrets,
    login: RegistryLogin | None,
) -> Glimpse | None:
    """An image that its registry has."""
    from coopery_publish.glimpses import look

    return look(reference, paths, tell, secrets, login)


@hookimpl(trylast=True)
def fetch_recipe(
    reference: str, settings: Settings, tell: Callable[[str], None], secrets: Secrets
) -> Path | None:
    """The recipe of a bundle in a registry."""
    from coopery_publish.fetching import as_reference, fetch

    found = as_reference(reference)
    if found is None:
        return None
    limit = settings.get(BundleOptions).bundle_limit * 1_000_000
    return fetch(found, settings.home, limit, tell, secrets)


@hookimpl(trylast=True)
def load_recipe(path: Path) -> Document | None:
    """A bundle's recipe file."""
    if path.name != "recipe.bundle":
        return None
    from coopery_publish.fetching import load

    return load(path)
