"""Pickles that tell nothing of the folder they were made in.

A pickled function names the file of its code, which tracebacks show. In an archive that path leads
nowhere, and would make the archives of two checkouts differ.
"""

from __future__ import annotations

import pickletools
import struct
from pathlib import Path

_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")


def portable(content: bytes, root: Path) -> bytes:
    """A pickle (protocol 4 or later) in which texts that are paths beneath `root` are relative."""
    prefixes = tuple(dict.fromkeys(f"{path}/" for path in (root.absolute(), root.resolve())))
    parts = []
    found = list(pickletools.genops(content))
    ends = [position for _, _, position in found[1:]] + [len(content)]
    for (opcode, argument, start), end in zip(found, ends, strict=True):
        if opcode.name == "FRAME" or start is None or end is None:
            continue  # frames tell lengths, and need not be
        if opcode.name in _TEXTS and isinstance(argument, str) and argument.startswith(prefixes):
            prefix = next(p for p in prefixes if argument.startswith(p))
            encoded = argument.removeprefix(prefix).encode("utf-8", "surrogatepass")
            parts.append(b"X" + struct.pack("<I", len(encoded)) + encoded)
        else:
            parts.append(content[start:end])
    return b"".join(parts)
