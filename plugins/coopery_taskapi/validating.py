"""What `coopery validate` says of the two documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coopery.formats import Checked
from coopery_taskapi import reading, text
from coopery_taskapi.models import ProcessingContainer, Task, Template


def is_container(path: Path, shown: str) -> bool:
    """Whether a file is a `processing-container.json`, whatever it is called."""
    return _kind_of(path, shown) is ProcessingContainer


def is_task(path: Path, shown: str) -> bool:
    """Whether a file is a `task.json`, whatever it is called."""
    return _kind_of(path, shown) is Task


def _kind_of(path: Path, shown: str) -> type | None:
    """Which of the two a file is; one that is no JSON object, nor called so, is none of them."""
    if path.suffix != ".json" and not text.begins_object(path):
        return None
    return reading.kind_of(text.read_file(path, shown).data)


def check_container(path: Path, shown: str, sets: Sequence[str]) -> Checked:
    """Check a specification. Raises RecipeError with all that is wrong."""
    read = reading.read_container(path, shown, sets)
    names = [template.identifier for template in read.document.templates]
    noun = "template" if len(names) == 1 else "templates"
    about = f"processing-container, {len(names)} {noun}: {', '.join(names)}"
    return Checked(about=about, warnings=read.warnings)


def check_task(path: Path, shown: str, sets: Sequence[str]) -> Checked:
    """Check a task. One that has its template within is merged with it, too.

    Raises RecipeError with all that is wrong.
    """
    from coopery_taskapi import merging

    read = reading.read_task(path, shown, sets)
    template = read.document.taskTemplate
    if isinstance(template, Template):
        merging.merge(read, template)
        about = f"task {read.document.name}, of a template of its own"
    else:
        about = f"task {read.document.name}, of the template {template!r} of {read.document.image}"
    return Checked(about=about, warnings=read.warnings)
