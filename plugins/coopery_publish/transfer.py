"""Blobs and manifests, to and from a registry: sent where they lack, and verified as they come."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from coopery.bundles import Blob
from coopery.errors import MachineError
from coopery_publish import refusals
from coopery_publish.client import Client, Response

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFESTS = (
    MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_LARGEST_MANIFEST = 4 << 20
"""Bytes; what registries take at most."""
CHUNK = 16 << 20
"""Bytes that are sent at a time: no more is lost when the way breaks."""
_RESTARTS = 3
"""How often the upload of a blob is begun anew."""


class _Slice(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        found = self._file.read(wanted)
        self._left -= len(found)
        return found

    def close(self) -> None:
        self._file.close()
        super().close()


class Repository:
    """One repository of a registry. Raises MachineError (`registry-…`)."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.sent = 0
        """Bytes of blobs that were sent."""

    def digest_of(self, reference: str) -> str | None:
        """The digest of the manifest under a tag or digest; None where there is none.

        It is the bytes' own, where they come, and not what a header says.
        """
        found = self.manifest(reference)
        return found[1] if found else None

    def manifest(self, reference: str) -> tuple[bytes, str, str] | None:
        """A manifest, its digest and media type; None where there is none of this name."""
        headers = {"Accept": ", ".join(_MANIFESTS)}
        path = f"/v2/{self.name}/manifests/{reference}"
        found = self.client.ask(
            "GET", path, self.name, headers=headers, also=(404,), limit=_LARGEST_MANIFEST
        )
        if found.status == 404:
            return None
        raw = found.content
        kind = (found.headers.get("Content-Type") or "").partition(";")[0].strip()
        if len(raw) > _LARGEST_MANIFEST:
            raise refusals.broken(self.client.host, f"has a manifest of more than {len(raw)} bytes")
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if reference.startswith("sha256:") and digest != reference:
            raise refusals.broken(self.client.host, f"gives another manifest for {reference}")
        return raw, digest, kind

    def has_manifest(self, digest: str) -> bool:
        """Whether a manifest is there, by its head alone."""
        headers = {"Accept": ", ".join(_MANIFESTS)}
        path = f"/v2/{self.name}/manifests/{digest}"
        with self.client.ask("HEAD", path, self.name, headers=headers, also=(404,)) as found:
            return found.status == 200

    def put_manifest(self, raw: bytes, media_type: str, reference: str) -> None:
        """Put a manifest under a tag; what it names must be there already."""
        path = f"/v2/{self.name}/manifests/{reference}"
        headers = {"Content-Type": media_type}
        with self.client.ask(
            "PUT", path, self.name, headers=headers, body=raw, size=len(raw), push=True,
            good=(200, 201, 202),
        ):  # fmt: skip
            return

    def has_blob(self, digest: str, *, push: bool = True) -> bool:
        """Whether a blob is there."""
        path = f"/v2/{self.name}/blobs/{digest}"
        with self.client.ask("HEAD", path, self.name, also=(404,), push=push) as found:
            return found.status == 200

    def put_blob(self, blob: Blob, mount_from: str | None = None) -> bool:
        """Send a blob, unless it is there, or in the repository `mount_from`; whether it was sent.

        An upload that breaks is begun anew a few times; what others began is never touched.
        """
        if self.has_blob(blob.digest):
            return False
        for attempt in range(_RESTARTS):
            place = self._begin(blob, mount_from)
            if place is None:
                return False
            try:
                self._upload(blob, place)
            except MachineError as error:
                lost = any(
                    p.slug in ("registry-missing", "registry-unreachable", "registry-refused")
                    for p in error.problems
                )
                if not lost or attempt + 1 == _RESTARTS:
                    raise
                if self.has_blob(blob.digest):
                    break  # only the answer was lost
                continue
            break
        self.sent += blob.size
        return True

    def _begin(self, blob: Blob, mount_from: str | None) -> str | None:
        """Where to send a blob to; None where it could be mounted."""
        query = ""
        scopes: tuple[str, ...] = ()
        if mount_from is not None and mount_from != self.name:
            query = f"?{urllib.parse.urlencode({'mount': blob.digest, 'from': mount_from})}"
            scopes = (f"repository:{mount_from}:pull",)
        path = f"/v2/{self.name}/blobs/uploads/{query}"
        with self.client.ask(
            "POST", path, self.name, body=b"", push=True, good=(202,), also=(201,), scopes=scopes
        ) as found:
            return None if found.status == 201 else self._place(found)

    def _place(self, found: Response) -> str:
        place = found.headers.get("Location")
        if not place:
            raise refusals.broken(self.client.host, "does not say where an upload goes")
        return urllib.parse.urljoin(found.url, place)

    def _upload(self, blob: Blob, place: str) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        if blob.size <= CHUNK:
            self._finish(place, blob, lambda: blob.open(), blob.size)
            return
        begin = 0
        while begin < blob.size:
            size = min(CHUNK, blob.size - begin)
            headers["Content-Range"] = f"{begin}-{begin + size - 1}"
            with self.client.ask(
                "PATCH", place, self.name, headers=headers, body=_part(blob, begin, size),
                size=size, push=True, good=(202,), also=(416,),
            ) as found:  # fmt: skip
                if found.status == 416:
                    raise refusals.broken(self.client.host, "lost a part of an upload")
                place = self._place(found)
            begin += size
        self._finish(place, blob, b"", 0)

    def _finish(self, place: str, blob: Blob, body: Any, size: int) -> None:
        joined = "&" if urllib.parse.urlsplit(place).query else "?"
        url = f"{place}{joined}{urllib.parse.urlencode({'digest': blob.digest})}"
        with self.client.ask(
            "PUT", url, self.name, body=body, size=size, push=True, good=(201,), also=()
        ):
            return

    def get_blob(self, digest: str, size: int) -> Iterator[bytes]:
        """A blob in pieces. Raises MachineError where it is not what it is said to be.

        Whoever takes the pieces must not trust them before the last has come.
        """
        path = f"/v2/{self.name}/blobs/{digest}"
        found = self.client.ask("GET", path, self.name)
        hashed, count = hashlib.sha256(), 0
        try:
            with found:
                while count <= size and (part := found.stream.read1(1 << 20)):
                    count += len(part)
                    hashed.update(part)
                    yield part
        except (http.client.HTTPException, OSError) as error:
            raise refusals.unreachable(self.client.host, error) from error
        if count != size or f"sha256:{hashed.hexdigest()}" != digest:
            said = f"gives other bytes for {digest} than that names"
            raise refusals.broken(self.client.host, said)

    def read_blob(self, digest: str, size: int, tries: int = _RESTARTS) -> bytes:
        """A small blob."""
        for _ in range(tries - 1):
            with suppress(MachineError):
                return b"".join(self.get_blob(digest, size))
        return b"".join(self.get_blob(digest, size))

    def save_blob(self, digest: str, size: int, target: Path, tries: int = _RESTARTS) -> None:
        """A blob as a file."""
        for attempt in range(tries):
            try:
                with target.open("wb") as file:
                    for part in self.get_blob(digest, size):
                        file.write(part)
                return
            except MachineError:
                if attempt + 1 == tries:
                    raise


def _part(blob: Blob, begin: int, size: int) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = blob.open()
        file.seek(begin)
        part: Any = _Slice(file, size)
        return part  # type: ignore[no-any-return]

    return opened


def read_json(raw: bytes) -> Any:
    """JSON that a registry gave. Raises ValueError, also for what is nested too deeply."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
