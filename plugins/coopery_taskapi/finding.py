"""Where the specification of an image is found: in a file, else in the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coopery.commands import Context
from coopery_taskapi.models import ProcessingContainer, Task, Template
from coopery_taskapi.reading import Read, read_container


@dataclass(frozen=True, kw_only=True)
class Found:
    """A specification, and where it is from. Of a task that has its own template there is none."""

    container: ProcessingContainer | None
    source: str


def specification_of(task: Read[Task], file: str | None, context: Context) -> Found:
    """The specification that a task's template is in: that of a `file`, else of its image.

    Raises RecipeError.
    """
    if isinstance(task.document.taskTemplate, Template):
        return Found(container=None, source="the task itself")
    assert file is not None
    return Found(container=read_container(Path(file), file).document, source=file)
