"""One canonical encoding, one hash: sha256, as OCI uses it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any

from coopery.marks import unkeyed
from coopery.shapes import fields_of

_encoder = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)


_PLAIN = frozenset((NoneType, bool, int, float, str))
"""Types whose values are plain as they are, and are most of what there is."""


@functools.cache
def _keyed_fields(kind: type) -> tuple[str, ...]:
    return tuple(f.attribute for f in fields_of(kind) if unkeyed not in f.marks)


def plain(value: Any) -> Any:
    """`value` as JSON data, without loss: types stay apart (1, 1.0, "1", true), sets are sorted.

    Fields annotated `unkeyed` are left out. Raises TypeError for what has no canonical form.
    """
    kind: type = type(value)
    return value if kind in _PLAIN else _form(kind)(value)


@functools.cache
def _form(kind: type) -> Callable[[Any], Any]:
    """How values of a type become plain; found once per type, for most of a key's cost is here."""
    if issubclass(kind, NoneType | bool | int | float):
        return _itself
    if issubclass(kind, Enum):
        return _enum
    if issubclass(kind, str):
        return _itself
    if issubclass(kind, list | tuple):
        return _list
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, bytes):
        return lambda value: {"bytes": value.hex()}
    if issubclass(kind, set | frozenset):
        return lambda value: {"set": sorted(map(plain, value), key=_encoder.encode)}
    if issubclass(kind, Path):
        return lambda value: {"path": value.as_posix()}
    if dataclasses.is_dataclass(kind):
        return functools.partial(_dataclass, kind.__name__, _keyed_fields(kind))
    raise TypeError(f"a {kind.__name__} has no canonical form")


def _itself(value: Any) -> Any:
    return value


def _enum(value: Enum) -> Any:
    return value.value


def _list(value: Iterable[Any]) -> list[Any]:
    return [plain(item) for item in value]


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) for key in value):
        return {"map": {key: plain(item) for key, item in value.items()}}
    pairs = [[plain(key), plain(item)] for key, item in value.items()]
    return {"pairs": sorted(pairs, key=_encoder.encode)}


def _dataclass(name: str, fields: tuple[str, ...], value: object) -> dict[str, Any]:
    return {"is": name, "has": {field: plain(getattr(value, field)) for field in fields}}


def digest(value: Any) -> str:
    """The sha256 (hex) of the canonical encoding of `value`."""
    return hashlib.sha256(
        _encoder.encode(plain(value)).encode("utf-8", "surrogatepass")
    ).hexdigest()


def digest_bytes(content: bytes) -> str:
    """The sha256 (hex) of these bytes."""
    return hashlib.sha256(content).hexdigest()
