"""What `coopery validate` says of the two documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coopery.formats import Checked
from coopery.options import Settings
from coopery_taskapi import TaskApiOptions, reading, text
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


def check_container(path: Path, shown: str, sets: Sequence[str], settings: Settings) -> Checked:
    """Check a specification. Raises RecipeError with all that is wrong."""
    read = reading.read_container(path, shown, sets)
    names = [template.identifier for template in read.document.templates]
    noun = "template" if len(names) == 1 else "templates"
    about = f"processing-container, {len(names)} {noun}: {', '.join(names)}"
    return Checked(about=about, warnings=read.warnings)


def check_task(path: Path, shown: str, sets: Sequence[str], settings: Settings) -> Checked:
    """Check a task. Where its template is within, or in the file of `--specification`, both
    together, too; no image is looked into.

    Raises RecipeError with all that is wrong.
    """
    from coopery_taskapi import merging

    read = reading.read_task(path, shown, sets)
    named, file = read.document.taskTemplate, settings.get(TaskApiOptions).specification
    about = f"task {read.document.name}, "
    if isinstance(named, Template):
        merging.merge(read, named)
        about += "of a template of its own"
    elif file is not None:
        container = reading.read_container(Path(file), file).document
        merging.merge(read, merging.template_of(read, container))
        about += f"of the template {named!r} of {file}"
    else:
        about += f"by itself: {read.document.image} was not asked for its template {named!r}"
    return Checked(about=about, warnings=read.warnings)
