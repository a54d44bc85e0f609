"""Traces of a value that should have left none: looked for by bytes, in all its usual disguises."""

from __future__ import annotations

import base64
import html
import json
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

_GZIP = b"\x1f\x8b\x08"
_MOST = 1 << 26
"""Bytes of a compressed stream that are looked through."""


def disguises(value: str) -> Mapping[str, bytes]:
    """The value as it may be written, by what to call that. It should have twelve characters or
    more, and be like nothing else.
    """
    raw = value.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "hex, large": raw.hex().upper().encode(),
        "URL": quote(value, safe="").encode(),
        "JSON": json.dumps(value)[1:-1].encode(),
        "shell": shlex.quote(value).strip("'").encode(),
        "UTF-16": value.encode("utf-16-le"),
        "UTF-16, big end": value.encode("utf-16-be"),
        "reversed": raw[::-1],
        "markup": html.escape(value, quote=False).encode(),
        "markup, quoted": html.escape(value).encode(),
    }
    for offset in range(3):
        first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        for name, encode in ("", base64.b64encode), (", URL-safe", base64.urlsafe_b64encode):
            text = encode(b"\0" * offset + raw + b"\0\0")[first:last]
            found[f"base64 at {offset}{name}"] = text
    return found


def traces_in(content: bytes, value: str) -> list[str]:
    """What of the value is in some bytes, or in what is compressed in them."""
    found = [name for name, form in disguises(value).items() if form in content]
    start = content.find(_GZIP)
    while start >= 0:
        try:
            inner = zlib.decompressobj(wbits=31).decompress(content[start:], _MOST)
        except zlib.error:
            inner = b""
        found += [f"gzip of {name}" for name, form in disguises(value).items() if form in inner]
        start = content.find(_GZIP, start + 1)
    return found


def traces(value: str, folders: Iterable[Path]) -> list[str]:
    """`PATH: DISGUISE` for each trace in the names and contents of all that is in these folders."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            found += [f"{path}: name" for _ in traces_in(str(path).encode(), value)[:1]]
            if path.is_symlink() or not path.is_file():
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            found += [f"{path}: {name}" for name in traces_in(content, value)]
    return found


def traces_in_processes(value: str, kinds: tuple[str, ...] = ("cmdline",)) -> list[str]:
    """`PID KIND` for each process that has the value among its arguments (or its `environ`)."""
    return [f"{pid} {kind}" for pid, kind, said in _said(kinds) if value.encode() in said]


def _said(kinds: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    for entry in Path("/proc").iterdir():
        for kind in kinds if entry.name.isdigit() else ():
            try:
                yield entry.name, kind, (entry / kind).read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
