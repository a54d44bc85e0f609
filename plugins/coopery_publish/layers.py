"""A layer of an image as it streams by: unpacked, and its entries one after another.

Nothing of it is trusted, and no more than a piece of it is in memory at a time. The format is that
of the OCI's image-spec (layer.md): a tar, as it is or packed by gzip or zstd.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

LARGEST = 64 << 30
"""Bytes of a layer, unpacked."""
MOST_ENTRIES = 5_000_000
LARGEST_HEADER = 1 << 20
"""Bytes of a header that says more of the file after it."""
_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 18
"""Bytes that are unpacked at a time."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPED = tuple(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))
"""How a frame of zstd begins that holds none of the file."""
_BARE = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
    *(tarfile.DIRTYPE, tarfile.FIFOTYPE),
)
"""Kinds of entries that have no content, whatever size they say."""
_MORE = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
Kind = Literal["file", "folder", "link", "hard", "sparse", "other"]


class Damaged(ValueError):
    """Something of an image is not as it should be; the text says what."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its path from the root without a slash before it, empty for the root itself.

    `target` is what a symbolic link holds, and the path, as `name` is one, that a hard one means.
    """

    name: str
    kind: Kind
    size: int = 0
    target: str = ""


def unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What a layer's bytes are unpacked, by how they begin. Raises Damaged."""
    first = next(pieces, b"")
    pieces = chain((first,), pieces)
    if first.startswith(_GZIP):
        return _inflated(pieces, lambda: zlib.decompressobj(31), zlib.error)
    if first.startswith((_ZSTD, *_SKIPPED)):
        zstd = _zstd()
        return _inflated(pieces, zstd.ZstdDecompressor, zstd.ZstdError)
    return pieces


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        why = "a layer is packed by zstd, which Python unpacks from 3.14 on"
        raise Damaged(
            f"{why}; a container engine that has pulled the image is asked first"
        ) from None
    return zstd


def _inflated(
    pieces: Iterator[bytes], make: Callable[[], Any], wrong: type[Exception]
) -> Iterator[bytes]:
    """Members or frames, one after another, each unpacked in pieces."""
    machine = make()
    for left in pieces:
        while True:
            if machine.eof:
                if not left.strip(b"\0"):
                    break  # zeros may fill up the end
                machine = make()
            try:
                piece = machine.decompress(left, _PIECE)
            except wrong as error:
                raise Damaged(f"a layer cannot be unpacked: {error}") from None
            if machine.eof:
                left = machine.unused_data
            else:  # zstd keeps what it has not taken
                left = getattr(machine, "unconsumed_tail", b"")
            if piece:
                yield piece
            elif not left:
                break
    if not machine.eof:
        raise Damaged("a layer ends before it should")


class Layer:
    """The entries of a layer, to be taken once, in their order; `content` is the last one's."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = unpacked(pieces)
        self._buffer, self._at = b"", 0
        self._left = 0
        """Bytes of the last entry, with what fills its last block, that were not taken yet."""
        self._size = 0
        self._total = 0

    def entries(self) -> Iterator[Entry]:
        """Raises Damaged."""
        name = target = None
        records: dict[str, str] = {}
        for _ in range(MOST_ENTRIES):
            self._skip(self._left)
            self._left = 0
            block = self._header()
            if block is None:
                return
            info = _parsed(block)
            if info is None:
                return
            if info.type in (*_MORE, tarfile.XGLTYPE):
                found = self._extended(info)
                if info.type in _MORE:
                    records = _records(found)
                continue
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = _text(self._extended(info))
                continue
            if info.type == tarfile.GNUTYPE_LONGLINK:
                target = _text(self._extended(info))
                continue
            if info.type == tarfile.GNUTYPE_SPARSE:
                more = block[482]
                while more:
                    more = self._take(_BLOCK)[504]
            info.name = records.get("GNU.sparse.name", records.get("path", name or info.name))
            info.linkname = records.get("linkpath", target or info.linkname)
            if "size" in records:
                info.size = _number(records["size"])
            if info.type == tarfile.AREGTYPE and info.name.endswith("/"):
                info.type = tarfile.DIRTYPE  # so tars before POSIX's have it
            yield self._entry(info, sparse=any(key.startswith("GNU.sparse.") for key in records))
            name = target = None
            records = {}
        raise Damaged(f"a layer has more than {MOST_ENTRIES:,} entries")

    def content(self) -> bytes:
        """The last entry's content, which must be taken before the next is; it is in memory."""
        size, self._size = self._size, 0
        self._left -= size
        return self._take(size)

    def finish(self) -> None:
        """Read to the end of the stream."""
        for piece in self._pieces:
            self._count(piece)

    def _entry(self, info: tarfile.TarInfo, *, sparse: bool) -> Entry:
        if info.size < 0:
            raise Damaged("a layer has an entry of less than no bytes")
        self._size = 0 if info.type in _BARE else info.size
        self._left = -(-self._size // _BLOCK) * _BLOCK
        name = path_of(info.name)
        match info.type:
            case tarfile.SYMTYPE:
                return Entry(name, "link", target=info.linkname)
            case tarfile.LNKTYPE:
                return Entry(name, "hard", target=path_of(info.linkname))
            case tarfile.DIRTYPE:
                return Entry(name, "folder")
            case tarfile.REGTYPE | tarfile.AREGTYPE | tarfile.CONTTYPE if not sparse:
                return Entry(name, "file", self._size)
            case _ if sparse or info.type == tarfile.GNUTYPE_SPARSE:
                return Entry(name, "sparse")
        return Entry(name, "other")

    def _extended(self, info: tarfile.TarInfo) -> bytes:
        if not 0 <= info.size <= LARGEST_HEADER:
            raise Damaged("a layer has a header that is too large")
        found = self._take(info.size)
        self._left = -info.size % _BLOCK
        return found

    def _header(self) -> bytes | None:
        """The next block; None where the stream ends, as some tars do without saying so."""
        return self._take(_BLOCK) if self._more() else None

    def _more(self) -> bool:
        while self._at >= len(self._buffer):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._count(piece)
            self._buffer, self._at = piece, 0
        return True

    def _count(self, piece: bytes) -> None:
        self._total += len(piece)
        if self._total > LARGEST:
            raise Damaged(f"a layer has more than {LARGEST:,} bytes unpacked")

    def _take(self, size: int) -> bytes:
        found = bytearray()
        while size:
            if not self._more():
                raise Damaged("a layer ends before it should")
            part = self._buffer[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            found += part
        return bytes(found)

    def _skip(self, size: int) -> None:
        while size:
            if not self._more():
                raise Damaged("a layer ends before it should")
            step = min(size, len(self._buffer) - self._at)
            self._at += step
            size -= step


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    """A header; None for the block that ends an archive."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if not any(block):
            return None
        raise Damaged(f"a layer is no tar: {error}") from None


def _records(found: bytes) -> dict[str, str]:
    """What an extended header says (POSIX pax): lines of `LENGTH KEY=VALUE`."""
    records: dict[str, str] = {}
    at = 0
    while at < len(found) and found[at]:
        space = found.find(b" ", at, at + 20)
        length = _number(found[at:space].decode("ascii", "replace") if space > 0 else "")
        key, equals, value = found[space + 1 : at + length - 1].partition(b"=")
        if at + length > len(found) or length <= space + 1 - at or not equals:
            raise Damaged("a layer has a header that says nothing")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return records


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Damaged(f"a layer has a header with the number {text[:20]!r}")
    return int(text)


def _text(found: bytes) -> str:
    return found.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def path_of(name: str) -> str:
    """An entry's name as a path from the root. Raises Damaged for one that leads out of it."""
    if "//" not in name and "./" not in name and not name.endswith("/."):
        name = name.strip("/")
        if name not in (".", "..") and not name.endswith("/.."):
            return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Damaged(f"a layer holds the path {name[:80]!r}, which leads out of it")
    return "/".join(parts)
