"""The Task API: processing containers, described by `processing-container.json` and `task.json`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from coopery.commands import Command, later
from coopery.hooks import hookimpl

if TYPE_CHECKING:
    from coopery.formats import Draft, Format

_VALIDATING, _SCHEMAS = "coopery_taskapi.validating", "coopery_taskapi.schemas"


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
