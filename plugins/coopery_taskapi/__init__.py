"""The Task API: processing containers, described by `processing-container.json` and `task.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coopery.formats import Checked, Format
from coopery.hooks import hookimpl


@hookimpl
def declare_formats() -> Sequence[Format]:
    """`processing-container` and `task`."""
    return [
        Format(
            name="processing-container",
            doc="what an image can do: processing-container.json, at the image's root",
            recognises=_recognise("is_container"),
            check=_check("check_container"),
            schema=_schema("container_schema"),
        ),
        Format(
            name="task",
            doc="one use of a processing container: task.json",
            recognises=_recognise("is_task"),
            check=_check("check_task"),
            schema=_schema("task_schema"),
        ),
    ]


# The documents' modules are imported when one is looked at, not whenever coopery starts.
def _recognise(name: str) -> Callable[[Path, str], bool]:
    def recognise(path: Path, shown: str) -> bool:
        from coopery_taskapi import validating

        known: bool = path.suffix == ".json" and getattr(validating, name)(path, shown)
        return known

    return recognise


def _check(name: str) -> Callable[[Path, str, Sequence[str]], Checked]:
    def check(path: Path, shown: str, sets: Sequence[str]) -> Checked:
        from coopery_taskapi import validating

        checked: Checked = getattr(validating, name)(path, shown, sets)
        return checked

    return check


def _schema(name: str) -> Callable[[], Mapping[str, Any]]:
    def schema() -> Mapping[str, Any]:
        from coopery_taskapi import schemas

        made: Mapping[str, Any] = getattr(schemas, name)()
        return made

    return schema
