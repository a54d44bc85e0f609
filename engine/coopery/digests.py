"""One canonical encoding, one hash: sha256, as OCI uses it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from coopery.shapes import fields_of, unkeyed

_encoder = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)


@functools.cache
def _keyed_fields(kind: type) -> tuple[str, ...]:
    return tuple(f.attribute for f in fields_of(kind) if unkeyed not in f.marks)


def plain(value: Any) -> Any:
    """`value` as JSON data, without loss: types stay apart (1, 1.0, "1", true), sets are sorted.

    Fields annotated `unkeyed` are left out. Raises TypeError for what has no canonical form.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return value.value
        case str():
            return value
        case bytes():
            return {"bytes": value.hex()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            if all(isinstance(key, str) for key in value):
                return {"map": {key: plain(item) for key, item in value.items()}}
            pairs = [[plain(k), plain(v)] for k, v in value.items()]
            return {"pairs": sorted(pairs, key=_encoder.encode)}
        case set() | frozenset():
            return {"set": sorted((plain(item) for item in value), key=_encoder.encode)}
        case Path():
            return {"path": value.as_posix()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {
                "is": type(value).__name__,
                "has": {f: plain(getattr(value, f)) for f in _keyed_fields(type(value))},
            }
    raise TypeError(f"a {type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """The sha256 (hex) of the canonical encoding of `value`."""
    return hashlib.sha256(
        _encoder.encode(plain(value)).encode("utf-8", "surrogatepass")
    ).hexdigest()


def digest_bytes(content: bytes) -> str:
    """The sha256 (hex) of these bytes."""
    return hashlib.sha256(content).hexdigest()
