"""The Task API: processing containers, described by `processing-container.json` and `task.json`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.commands import Command, later
from coopery.hooks import hookimpl
from coopery.options import option

if TYPE_CHECKING:
    from coopery.dependencies import Frozen, Invocation, Layer, Lock
    from coopery.errors import Problem
    from coopery.formats import Draft, Format
    from coopery.glimpses import Glimpse
    from coopery.model import Faceted, Image, Instance, Recipe, Task
    from coopery.options import Settings
    from coopery.recipes import Document, Facet
    from coopery.steps import Sizing, Step

_VALIDATING, _SCHEMAS = "coopery_taskapi.validating", "coopery_taskapi.schemas"


@dataclass(frozen=True)
class TaskApiOptions:
    """How a task.json is run, and what is told of a template's memory."""

    specification: str | None = option(
        None,
        help="a processing-container.json to take instead of the image's",
        metavar="FILE",
        reading=True,
    )
    monitor_memory: bool = option(
        False,
        help="tell how much memory tasks of templates held, and whether their scale rules suffice",
        performing=True,
    )
    remember: bool = option(
        False,
        help="keep the results of a task.json in the store, and run it only if something changed",
        reading=True,
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--specification`, `--monitor-memory` and `--remember`."""
    return [TaskApiOptions]


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`template` of a task, and `specification` of an image."""
    from coopery.recipes import Facet

    uses = "coopery_taskapi.uses"
    return [
        Facet(
            noun="task",
            key="template",
            type=f"{uses}:TemplateUse",
            action=True,
            image_of=later(uses, "image_of"),
            doc='What the task is of: a template of an image, "IMAGE#IDENTIFIER".',
        ),
        Facet(
            noun="image",
            key="specification",
            type=str,
            wrap=later(uses, "SpecificationFile"),
            keyed=False,
            doc="The file that says what the image can do, its /processing-container.json.",
        ),
    ]


def _has_own(noun: Faceted) -> bool:
    """Whether a noun has a key of this plugin; finding that out imports nothing."""
    return any(type(facet).__module__ == "coopery_taskapi.uses" for facet in noun.facets)


@hookimpl(trylast=True)
def load_recipe(path: Path, sets: Sequence[str], settings: Settings) -> Document | None:
    """A task.json."""
    if path.suffix != ".json":
        return None
    from coopery_taskapi.documents import load

    return load(path, sets, remember=settings.get(TaskApiOptions).remember)


@hookimpl
def check(recipe: Recipe) -> Iterable[Problem]:
    """Files of specifications are there, and commands of templates hold known placeholders."""
    nouns = (*recipe.images.values(), *recipe.tasks.values())
    if not any(_has_own(noun) for noun in nouns):
        return ()
    from coopery_taskapi.checking import check

    return check(recipe)


@hookimpl
def add_layers(recipe: Recipe, image: Image) -> Iterable[Layer]:
    """The file that says what an image can do, at the image's root."""
    if not _has_own(image):
        return ()
    from coopery_taskapi.checking import layers_of

    return layers_of(recipe, image)


@hookimpl(trylast=True)
def plan_task(
    recipe: Recipe,
    instance: Instance,
    lock: Lock,
    settings: Settings,
    look: Callable[[str, Sequence[str]], Glimpse],
) -> Invocation | None:
    """What a template says a task runs."""
    if not _has_own(instance.task):
        return None
    from coopery_taskapi.planning import invocation_of

    return invocation_of(recipe, instance, lock, settings, look)


@hookimpl(trylast=True)
def freeze_task(task: Task) -> Frozen | None:
    """The template as the recipe names it: its image says in a bundle, too, what it can do."""
    if not _has_own(task):
        return None
    from coopery_taskapi.documents import frozen

    return frozen(task)


@hookimpl(trylast=True)
def size_step(
    step: Step, inputs: Mapping[str, Sequence[tuple[str, Path]]], outputs: Mapping[str, Path]
) -> Sizing | None:
    """The memory that scale rules ask for."""
    from coopery_taskapi.measuring import size

    return size(step, inputs, outputs)


@hookimpl
def review_step(step: Step, facts: Mapping[str, Any]) -> Iterable[str]:
    """How much memory a task of a template held, and whether its rules suffice."""
    from coopery_taskapi.measuring import review

    return review(step, facts)


@hookimpl
def declare_formats() -> Sequence[Format]:
    """`processing-container` and `task`."""
    from coopery.formats import Format

    return [
        Format(
            name="processing-container",
            doc="what an image can do: processing-container.json, at the image's root",
            recognises=later(_VALIDATING, "is_container"),
            check=later(_VALIDATING, "check_container"),
            schema=later(_SCHEMAS, "container_schema"),
        ),
        Format(
            name="task",
            doc="one use of a processing container: task.json",
            recognises=later(_VALIDATING, "is_task"),
            check=later(_VALIDATING, "check_task"),
            schema=later(_SCHEMAS, "task_schema"),
        ),
    ]


@hookimpl
def declare_drafts() -> Sequence[Draft]:
    """`image` and `legacy`."""
    from coopery.formats import Draft

    return [
        Draft(
            name="image",
            doc="a processing-container.json from an image's labels and variables",
            make=later("coopery_taskapi.drafting", "draft_image"),
        ),
        Draft(
            name="legacy",
            doc="the same, of an image that finds its data by variables set from outside",
            make=later("coopery_taskapi.drafting", "draft_legacy"),
        ),
    ]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`explain` and `spec`."""
    return [
        Command(
            name="spec",
            help="print what an image can do: its processing-container.json",
            run=later("coopery_taskapi.specifying"),
            configure=_spec,
            json=True,
            recipe=False,
            epilog="The image is not started. An engine that has it is asked, else its registry; "
            "of the image a label is read, else the file.",
        ),
        Command(
            name="explain",
            help="show a task.json with its template: where each value is from, and its memory",
            run=later("coopery_taskapi.explaining"),
            configure=_explain,
            json=True,
            recipe=False,
            epilog="The data is looked at as it is now: of each scale rule, the sum behind it is "
            "shown.",
        ),
    ]


def _spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="its reference: registry.example/name:tag")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", metavar="FILE", help="a task.json")
    parser.add_argument(
        "--specification",
        metavar="FILE",
        help="a processing-container.json to take instead of the image's",
    )
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="custom.NAME=VALUE",
        help="what {{ custom.NAME }} stands for in the document",
    )
