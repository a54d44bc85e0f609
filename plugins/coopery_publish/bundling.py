"""Bundles: frozen tasks and the files that they read, as the blobs of an OCI artifact.

The same tasks are always the same bytes. See docs/reference/bundles.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from coopery.bundles import Blob, Bundle, blob_of
from coopery.contexts import Entry, entries_of, write_tar
from coopery.errors import Problem, RecipeError
from coopery.trees import scan

if TYPE_CHECKING:
    from coopery_publish.freezing import FrozenTasks

ARTIFACT = "application/vnd.coopery.bundle.v1+json"
"""The type of the artifact, and of its configuration: the frozen recipe."""
LAYER = "application/vnd.coopery.bundle.files.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
VERSION = 1
PROJECT, PAYLOAD = "project", "payload"
"""The folders of a bundle: what tasks read, and what functions are made of."""

_LARGE = 1 << 20
"""Bytes from which on an input is a layer of its own, which is sent only when it changes."""


def make_bundle(
    frozen: FrozenTasks, images: Mapping[str, Any], runtime: str, scratch: Path
) -> Bundle:
    """The bundle of some tasks and the tables of their images; large layers lie in `scratch`.

    Raises RecipeError (`not-publishable`) for values that no JSON holds.
    """
    document = {
        "version": VERSION,
        "recipe": {
            "defaults": {"runtime": runtime},
            "image": dict(sorted(images.items())),
            "task": dict(frozen.tables),
        },
    }
    try:
        text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        message = f"a value of the recipe cannot be bundled: {error}"
        hint = "parameters are text, numbers, true or false, and lists and tables of these"
        raise RecipeError(Problem(slug="not-publishable", message=message, hint=hint)) from None
    config = blob_of(text.encode(), ARTIFACT, "recipe")
    layers = tuple(_layers(frozen, scratch))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    raw = json.dumps(manifest, ensure_ascii=True, separators=(",", ":")).encode()
    return Bundle(manifest=blob_of(raw, MANIFEST), blobs=(*layers, config))


def _descriptor(blob: Blob) -> dict[str, Any]:
    told: dict[str, Any] = {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": blob.size,
    }
    if blob.title and blob.media_type == LAYER:
        told["annotations"] = {"org.opencontainers.image.title": blob.title}
    return told


def _layers(frozen: FrozenTasks, scratch: Path) -> Iterator[Blob]:
    """The files of functions and all small inputs together, then each large input by itself."""
    small: list[Entry] = [
        Entry(path=path, mode=0o644, content=content, size=len(content))
        for path, content in sorted(frozen.files.items())
    ]
    large: dict[str, list[Entry]] = {}
    taken: set[str] = set()
    for name, source in sorted(frozen.inputs.items()):
        if any(parent in taken for parent in _above(name)):
            continue  # the folder that it lies in comes whole
        taken.add(name)
        # An input that is a link is what it leads to; the links within one stay links.
        source = source.resolve()
        if source.is_dir():
            scan(source)  # which refuses links that lead out of it, and devices
        entries = list(entries_of(source, f"{PROJECT}/{name}"))
        if sum(entry.size for entry in entries) < _LARGE:
            small += entries
        else:
            large[name] = entries
    if small:
        yield _layer(small, "small files", scratch)
    for name, entries in large.items():
        yield _layer(entries, name, scratch)


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _layer(entries: Iterable[Entry], title: str, scratch: Path) -> Blob:
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"{len(list(scratch.iterdir()))}.tar"
    with path.open("wb") as file:
        write_tar(entries, file)
    digest, size = _digest(path.open("rb"))
    return Blob(media_type=LAYER, digest=digest, size=size, file=path, title=title)


def _digest(file: IO[bytes]) -> tuple[str, int]:
    hashed, size = hashlib.sha256(), 0
    with file:
        while part := file.read(1 << 20):
            hashed.update(part)
            size += len(part)
    return f"sha256:{hashed.hexdigest()}", size
