"""What goes into a build context: every file with its size, and what should give pause (C10)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.contexts import Entry, entries_of
from coopery.credentials import is_credential_file
from coopery.images import Blueprint, Copied
from coopery.steps import FileSet, FileSource, Outcome, StepSource, Store
from coopery_images import ImageOptions
from coopery_images.archives import TaskPart, completed, fixed_entries, texts_of
from coopery_images.work import Archive

if TYPE_CHECKING:
    from coopery.expanding import Node
    from coopery.options import Settings

_OWN = ("sources", "wheels", "task")
"""The parts that hold the user's own files; packages of others may hold certificates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file of a context, the part that it belongs to, and its size in bytes."""

    part: str
    path: str
    size: int


def limit_of(settings: Settings) -> int:
    """How many bytes a context may have before a warning."""
    return settings.get(ImageOptions).context_limit * 1_000_000


def list_context(
    blueprint: Blueprint,
    node: Node | None,
    part: TaskPart,
    outcomes: Mapping[str, Outcome],
    store: Store,
) -> tuple[Listed, ...]:
    """The files of a context whose steps have ended; links count with no bytes."""
    copies = [item for each in blueprint.parts for item in each.copies]
    made = {f"copy {item.path}": path for item in copies if (path := _made(item, outcomes, store))}
    fixed = Archive(texts=completed(texts_of(blueprint, node, part), made))
    found = [
        Listed(part="task" if e.path.startswith("task/") else "archive", path=e.path, size=e.size)
        for e in fixed_entries(fixed)
    ]
    for each in blueprint.parts:
        for item in each.copies:
            for entry in _entries(item, outcomes, store):
                if entry.file is not None or entry.target is not None:
                    found.append(Listed(part=each.name, path=entry.path, size=entry.size))
    return tuple(found)


def _made(item: Copied, outcomes: Mapping[str, Outcome], store: Store) -> Path | None:
    """Where what a step made for it lies."""
    if not isinstance(item.need.source, StepSource):
        return None
    source = item.need.source
    folder = store.find(outcomes[source.step].outputs[source.output])
    return folder / source.inside if folder else None


def _entries(item: Copied, outcomes: Mapping[str, Outcome], store: Store) -> Iterator[Entry]:
    match item.need.source:
        case FileSource(path=path):
            yield from entries_of(path, item.path)
        case FileSet(root=root, files=files):
            for name in files:
                yield from entries_of(root / name, posixpath.join(item.path, name))
        case StepSource():
            if (found := _made(item, outcomes, store)) is not None:
                yield from entries_of(found, item.path)


def warnings(found: Sequence[Listed], limit: int) -> Iterator[str]:
    """What looks like credentials, and a context over the limit."""
    for item in found:
        if item.part in _OWN and is_credential_file(posixpath.basename(item.path)):
            yield f"{item.path} looks like credentials: exclude it from the image"
    total = sum(item.size for item in found)
    if total > limit:
        largest = max(found, key=lambda item: item.size)
        yield (
            f"the context has {total / 1e6:.1f} MB, over the limit of {limit / 1e6:g} MB "
            f"(--context-limit); the largest file is {largest.path}, {largest.size / 1e6:.1f} MB"
        )


def parts_of(found: Sequence[Listed]) -> dict[str, int]:
    """By part, in order, the size of all its files."""
    sizes: dict[str, int] = {}
    for item in found:
        sizes[item.part] = sizes.get(item.part, 0) + item.size
    return sizes


def document(found: Sequence[Listed], limit: int) -> dict[str, Any]:
    """The answer as JSON."""
    return {
        "size": sum(item.size for item in found),
        "limit": limit,
        "parts": parts_of(found),
        "files": [{"part": i.part, "path": i.path, "size": i.size} for i in found],
        "warnings": list(warnings(found, limit)),
    }


def text(found: Sequence[Listed], table: Callable[[Sequence[tuple[str, ...]]], str]) -> str:
    """The answer for people: files with their sizes in bytes, then each part, then all."""
    rows = [(f"{item.size}", item.path) for item in found]
    rows += [(f"{size}", f"= {name}") for name, size in parts_of(found).items()]
    rows.append((f"{sum(item.size for item in found)}", "= all"))
    width = max(len(size) for size, _ in rows)
    return table([(size.rjust(width), path) for size, path in rows])
