"""Whether a secret has left traces: in files, and in what is packed in them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> frozenset[bytes]:
    """The secret as it is, backwards, in hexadecimal digits and in UTF-16; as URLs, JSON and the
    shell have it; and within base64 of anything around it.
    """
    data = secret.encode()
    quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    lower = {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text) for text in quoted}
    escaped = {json.dumps(secret)[1:-1], shlex.quote(secret), repr(secret)[1:-1]}
    found = {data, *(text.encode() for text in quoted | lower | escaped)}
    found |= {data[::-1], data.hex().encode(), data.hex().upper().encode()}
    found |= {secret.encode("utf-16-le"), secret.encode("utf-16-be")}
    for shift in range(3):
        # The characters that hold bits of the secret alone, wherever it begins.
        first, last = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        text = base64.b64encode(bytes(shift) + data)[first:last]
        found |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return frozenset(found)


def traces(secret: str, *roots: Path) -> list[str]:
    """The files below these folders, or files, that hold a secret in any spelling."""
    forms = spellings(secret)
    files = [path for root in roots for path in _files(root)]
    assert files
    return [str(path) for path in files if _holds(path.read_bytes(), forms)]


def _holds(data: bytes, forms: frozenset[bytes]) -> bool:
    return any(form in content for content in _contents(data) for form in forms)


def _files(root: Path) -> Iterator[Path]:
    for path in (root, *root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _contents(data: bytes, depth: int = 4) -> Iterator[bytes]:
    """The bytes, and unpacked what they begin with; a tar holds its files as they are."""
    yield data
    if depth == 0:
        return
    if data.startswith(b"\x1f\x8b"):
        try:
            yield from _contents(gzip.decompress(data), depth - 1)
        except (EOFError, OSError, zlib.error):
            return  # it only begins like one
    elif data.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield from _contents(archive.read(name), depth - 1)
        except zipfile.BadZipFile:
            return
