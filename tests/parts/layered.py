"""Images made by hand, layer by layer: what a registry serves, and what an engine loads."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

Member = tuple[tarfile.TarInfo, bytes]
Table = dict[str, Any]
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(content: bytes) -> str:
    """As manifests name bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file(name: str, content: bytes = b"", **more: Any) -> Member:
    """A file, or with `type` something else."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def folder(name: str) -> Member:
    return file(name, type=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> Member:
    return file(name, type=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> Member:
    return file(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: Member, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A layer, not packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def packed(layer: bytes) -> bytes:
    return gzip.compress(layer, 1, mtime=0)


def config_of(layers: Sequence[bytes], config: object) -> bytes:
    """An image's configuration; `layers` are not packed."""
    rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
    table = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": rootfs}
    return json.dumps(table).encode()


def archive_of(layers: Sequence[bytes], config: object, name: str) -> bytes:
    """An image as `docker load` takes it."""
    raw = config_of(layers, config)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    return tar(
        file("config.json", raw),
        *(file(*pair) for pair in zip(names, layers, strict=True)),
        file("manifest.json", json.dumps(listed).encode()),
    )


STACK = (
    (
        folder("etc/"),
        file("etc/name", b"old"),
        file("etc/kept", b"kept"),
        folder("usr/lib/"),
        file("usr/lib/release", b"release"),
        file("usr/lib/lower", b"lower"),
        link("lib", "usr/lib"),
        folder("gone/deep/"),
        file("gone/deep/file", b"x"),
        folder("opaque/"),
        file("opaque/below", b"x"),
        folder("was-folder/"),
        file("was-folder/file", b"x"),
        file("was-file", b"x"),
        file("first", b"linked"),
        hard("second", "first"),
        link("moves", "first"),
        folder("top/in/"),
        file("top/in/file", b"in"),
    ),
    (
        file("etc/name", b"new"),
        link("etc/release", "../lib/release"),
        file(".wh.gone"),
        folder("opaque/"),
        file("opaque/above", b"above"),
        file("opaque/.wh..wh..opq"),
        file(".wh.was-folder"),
        link("was-folder", "etc"),
        file(".wh.was-file"),
        folder("was-file/"),
        file("was-file/file", b"now a folder"),
        file("first", b"another"),
        link("up", "../../../etc/./name"),
        link("chain", "/up"),
        link("dangling", "/no/where"),
        file("pipe", type=tarfile.FIFOTYPE),
        file("empty"),
        link("into", "/top"),
    ),
    (
        file("etc/.wh.kept"),
        folder("gone/"),
        file("gone/new", b"again"),
        link("lib2", "lib"),
        file("top/in/.wh.file"),
        file("etc/" + "long" * 60, b"long"),
        link("far", "etc/" + "long" * 60),
        file("after", b"after"),
        link("near", "after"),
    ),
)
"""Layers in which files are hidden, replaced and linked in every way."""
FILES = {
    "/etc/name": b"new",
    "/etc/release": b"release",
    "/usr/lib/release": b"release",
    "/lib/lower": b"lower",
    "/lib2/lower": b"lower",
    "/opaque/above": b"above",
    "/was-folder/name": b"new",
    "/was-file/file": b"now a folder",
    "/first": b"another",
    "/second": b"linked",
    "/moves": b"another",
    "/up": b"new",
    "/chain": b"new",
    "/empty": b"",
    "/gone/new": b"again",
    "/etc/" + "long" * 60: b"long",
    "/far": b"long",
    "/after": b"after",
    "/near": b"after",
}
"""What is in them, from the top."""
ABSENT = (
    *("/etc/kept", "/gone/deep/file", "/gone/deep", "/opaque/below", "/was-folder/file"),
    *("/was-file", "/dangling", "/pipe", "/etc", "/lib", "/no/such", "/etc/name/x", "/empty/x"),
    *("/top/in/file", "/into/in/file", "/.wh.gone", "/was-folder"),
)
