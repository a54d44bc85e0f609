"""What is published: images that were built, and tasks bundled so that they run without a project.

Values alone: who makes them and who takes them somewhere are plugins.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from coopery.images import Base
    from coopery.model import Recipe


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Some bytes with their media type: `content`, or those of a `file`.

    `digest` is `sha256:…` of them, `size` their number; `title` is for people.
    """

    media_type: str
    digest: str
    size: int
    content: bytes | None = None
    file: Path | None = None
    title: str = ""

    def open(self) -> IO[bytes]:
        """The bytes, from their beginning."""
        if self.file is not None:
            return self.file.open("rb")
        return io.BytesIO(self.content or b"")


def blob_of(content: bytes, media_type: str, title: str = "") -> Blob:
    """Bytes as a blob."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(
        media_type=media_type, digest=digest, size=len(content), content=content, title=title
    )


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Tasks and all that they need, as an OCI artifact: the `manifest` names the `blobs`."""

    manifest: Blob
    blobs: tuple[Blob, ...]


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image that can be sent: `push(reference)` sends it there and tells its digest.

    It is known by its `key`: images with the same one are the same wherever they were built. With
    `pinned` it is one of a registry already, used as it is. `base` is what it begins with.
    """

    name: str
    key: str
    base: Base
    push: Callable[[str], str]
    pinned: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What is to be published, and where: `target` as the user wrote it, under `tags`.

    `images` are those that the user named and those that the bundle's tasks run in. `bundle`
    makes the bundle, once it is known by which reference each image, by its name, can be had; None
    where images alone are published.
    """

    target: str
    tags: tuple[str, ...]
    recipe: Recipe
    images: tuple[BuiltImage, ...]
    bundle: Callable[[Mapping[str, str]], Bundle] | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """One thing that can be had from now on: under `reference`, and under `names` that may move.

    `sent` are the bytes that had to be sent; 0 for what was there already.
    """

    kind: Literal["image", "bundle"]
    reference: str
    name: str = ""
    names: tuple[str, ...] = ()
    sent: int | None = None
