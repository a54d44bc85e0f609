"""A look into an image that a registry has: its configuration, and files as its layers stream by.

No layer is kept, in memory or on a disk.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar, cast

from coopery.errors import CooperyError, MachineError, Problem
from coopery.glimpses import Glimpse, damaged, glimpse_of, not_found, too_large
from coopery.logins import RegistryLogin
from coopery.quantities import show_bytes
from coopery.secrets import Secrets
from coopery_publish import refusals
from coopery_publish.client import Client
from coopery_publish.layers import Damaged, Layer
from coopery_publish.logins import find_login
from coopery_publish.manifests import Manifest, NoImage, read
from coopery_publish.references import Reference, parse
from coopery_publish.stacks import Sight, Stack
from coopery_publish.transfer import Repository, read_json
from coopery_publish.unpacking import Described

_TRIES = 3
"""How often a blob is read when the way to it breaks."""
_LARGE = 10_000_000
"""Bytes of a layer that takes long enough to be told."""
_REST = 32 << 20
"""Bytes of a layer that are read on when all is found, for the sake of its digest."""
T = TypeVar("T")
Tell = Callable[[str], None]


def look(
    text: str,
    paths: Sequence[str],
    tell: Tell,
    secrets: Secrets,
    given: RegistryLogin | None,
) -> Glimpse:
    """The image that its registry has under a reference, and files in it. No engine here has it.

    What is read to its end is verified by its digest. A layer of which the rest is long, and says
    nothing more, is not read to its end, unless the reference names a digest: then all that is
    told is vouched for by it. Raises MachineError (`image-…`, `registry-…`, `docker-config`,
    `secret-missing`).
    """
    try:
        reference = parse(text)
    except ValueError as error:
        why = f"no container engine here has one of this name, and no registry can: {error}"
        raise not_found(text, why) from None
    if given is not None and given.host != reference.host:
        tell(f"warning: the login for {given.host} is not used: {text} is of {reference.host}")
        given = None
    client = Client(reference.host, lambda: find_login(reference.host, given, secrets))
    repository = Repository(client, reference.repository)
    try:
        return _Looking(reference, repository, tell).look(paths)
    except Damaged as error:
        raise damaged(str(reference), str(error)) from None
    except NoImage as error:
        message = f"{reference} is no image that can be looked into, but {error}"
        hint = "name an image for Linux; `coopery run -f` takes bundles of tasks"
        raise MachineError(Problem(slug="not-an-image", message=message, hint=hint)) from None


class _Looking:
    """One look into one image."""

    def __init__(self, reference: Reference, repository: Repository, tell: Tell) -> None:
        self._reference, self._repository, self._tell = reference, repository, tell
        self._shown = str(reference)

    def look(self, paths: Sequence[str]) -> Glimpse:
        """Raises Damaged, NoImage, MachineError."""
        manifest = read(self._repository, self._first(), self._shown, self._tell)
        config = self._config(manifest.config)
        files = self._files(manifest, paths) if paths else {}
        source = self._reference.host
        try:
            return glimpse_of(
                config.get("config"), id=manifest.config.digest, source=source, files=files
            )
        except ValueError as error:
            raise Damaged(str(error)) from None

    def _first(self) -> bytes:
        """What the reference names; what is wrong is told with the other way to the image."""
        host = self._reference.host
        before = "no container engine here has it"
        try:
            found = self._repository.manifest(
                self._reference.digest or self._reference.tag or "latest"
            )
        except CooperyError as error:
            told = (
                replace(p, message=f"the image {self._shown}: {before}, and {p.message}")
                for p in error.problems
            )
            raise type(error)(*told) from error
        if found is None:
            raise not_found(self._shown, f"{before}, and the registry {host} has none either")
        return found[0]

    def _config(self, blob: Described) -> dict[str, Any]:
        raw = self._trying(lambda: b"".join(self._repository.get_blob(blob.digest, blob.size)))
        try:
            found = read_json(raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Damaged("its configuration is no JSON table")
        return found

    def _files(self, manifest: Manifest, paths: Sequence[str]) -> dict[str, bytes]:
        layers = manifest.layers

        def look(wants: Sequence[Any], number: int) -> Sight:
            blob = layers[number]
            if blob.size >= _LARGE:
                counted = f"layer {number + 1} of {len(layers)}, {show_bytes(blob.size)}"
                self._tell(f"look     {self._shown}: {counted}")
            return self._trying(lambda: self._see(blob, Sight(wants, number, self._refuse)))

        return dict(Stack(len(layers), look).find(paths))

    def _refuse(self, path: str, size: int) -> Exception:
        return too_large(self._shown, path, size)

    def _see(self, blob: Described, sight: Sight) -> Sight:
        taken = 0

        def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal taken
            for piece in pieces:
                taken += len(piece)
                yield piece

        blob_read = self._repository.get_blob(blob.digest, blob.size)
        with closing(cast("Generator[bytes]", blob_read)) as pieces:
            streamed = counted(pieces)
            layer = Layer(streamed)
            sight.see(layer)
            if not sight.is_over:
                layer.finish()
            elif self._reference.digest is not None or blob.size - taken <= _REST:
                for _ in streamed:
                    pass  # the last piece brings the digest's verdict
        return sight

    def _trying(self, work: Callable[[], T]) -> T:
        """What reads a blob, tried anew where the way to it breaks."""
        for attempt in range(1, _TRIES + 1):
            try:
                return work()
            except MachineError as error:
                # A connection that broke looks like bytes that are not those of the digest.
                if attempt == _TRIES or error.problems[0].slug != "registry-refused":
                    raise
            except (OSError, http.client.HTTPException) as error:
                if attempt == _TRIES:
                    raise refusals.unreachable(self._repository.client.host, error) from error
        raise AssertionError("it was tried")
