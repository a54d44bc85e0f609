"""Which image a registry has under a reference: its manifest, of the platform that is wanted."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coopery_publish.layers import Damaged
from coopery_publish.transfer import Repository, read_json
from coopery_publish.unpacking import Described

LARGEST_CONFIG = 16 << 20
"""Bytes of an image's configuration."""
_MOST_LAYERS = 1000
_DEEPEST = 3
"""How many indexes may name one another."""
_CONFIGS = frozenset(
    (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    )
)
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[.+](?:gzip|zstd))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+", re.ASCII)
_MACHINES = {
    **{"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386"},
    **{"armv6l": "arm", "armv7l": "arm", "armv8l": "arm"},
}
"""What Python calls this machine, in the OCI's terms (GOARCH), where that differs."""
Tell = Callable[[str], None]


class NoImage(ValueError):
    """What is there is something else; the text says what."""


@dataclass(frozen=True)
class Manifest:
    """What an image's manifest names: its configuration, and its layers from the bottom."""

    config: Described
    layers: tuple[Described, ...]


def architecture() -> str:
    """This machine's, in the OCI's terms."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def read(repository: Repository, raw: bytes, shown: str, tell: Tell) -> Manifest:
    """The manifest of an image, of this machine's platform where there are several, else of the
    first one for Linux, which is told. Raises Damaged, NoImage, MachineError (`registry-…`).
    """
    for _ in range(_DEEPEST):
        try:
            found = read_json(raw)
        except ValueError:
            raise Damaged("its manifest is no JSON") from None
        if not isinstance(found, dict):
            raise Damaged("its manifest is no table")
        if "manifests" not in found:
            return _manifest(found)
        if "layers" in found or "config" in found:
            raise Damaged("its manifest is an index, and none")  # each reader might see another
        digest = _chosen(found["manifests"], shown, tell)
        answer = repository.manifest(digest)
        if answer is None:
            raise Damaged(f"the registry lacks the manifest {digest} that its index names")
        raw = answer[0]
    raise Damaged("its indexes name one another without end")


def _chosen(listed: Any, shown: str, tell: Tell) -> str:
    """The digest of a platform's manifest."""
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Damaged("its index lists no manifests")
    own = f"linux/{architecture()}"
    known: dict[str, str] = {}
    for each in listed:
        name = _platform(each.get("platform"))
        digest = each.get("digest")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest):
            known.setdefault(name, digest)
    linux = [name for name in known if name.startswith("linux/")] or [n for n in known if not n]
    if own in known:
        return known[own]
    if not linux:
        there = ", ".join(sorted(filter(None, known)))[:200]
        raise NoImage(f"an image for {there} alone" if there else "an index of nothing")
    if linux[0]:
        tell(f"warning: {shown} is not there for {own}; looked at is the one for {linux[0]}")
    return known[linux[0]]


def _platform(found: Any) -> str:
    """`linux/amd64`; empty where nothing is said of it."""
    if not isinstance(found, Mapping):
        return ""
    name = f"{found.get('os')}/{found.get('architecture')}"
    return name if _PLATFORM.fullmatch(name) else ""


def _manifest(found: Mapping[str, Any]) -> Manifest:
    if found.get("schemaVersion") == 1:
        raise NoImage("an image of Docker's first format, which registries have given up")
    config, layers = found.get("config"), found.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise Damaged("its manifest names no configuration and layers")
    kind = str(config.get("mediaType"))[:80]
    if kind not in _CONFIGS:
        raise NoImage(f"a thing of the kind {kind}")
    if len(layers) > _MOST_LAYERS:
        raise Damaged(f"it has {len(layers)} layers")
    described = _described(config)
    if described.size > LARGEST_CONFIG:
        raise Damaged(f"its configuration has {described.size:,} bytes")
    return Manifest(described, tuple(_layer(layer) for layer in layers))


def _layer(found: Any) -> Described:
    described = _described(found)
    if not _LAYER.fullmatch(described.media_type):
        raise Damaged(f"a layer is of the unknown kind {described.media_type[:80]}")
    return described


def _described(found: Any) -> Described:
    if isinstance(found, dict):
        kind, digest, size = (found.get(name) for name in ("mediaType", "digest", "size"))
        named = isinstance(kind, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest)
        if named and type(size) is int and size >= 0:
            return Described(str(kind), str(digest), size)
    raise Damaged("its manifest describes something that is none")
