"""Parts of keys that differ: which of them a person wants to hear of, and in what words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coopery.keys import differences
from coopery.steps import Part, Store

_SPOKEN = {"aux_digests payload.pkl": "the function's code"}


@dataclass(frozen=True)
class Change:
    """A part of a key that differs; None where there was none, or is none any more."""

    name: str
    before: Part | None
    after: Part | None


def changes(before: Sequence[Part], after: Sequence[Part]) -> list[Change]:
    """What differs between the parts of two keys, without what only follows from the rest.

    A command changes with the parameters that it names, a package's hashes with its version:
    to tell of these too would hide the cause.
    """
    old = {part.name: part for part in before}
    new = {part.name: part for part in after}
    found = [Change(name, old.get(name), new.get(name)) for name in {**new, **old}]
    found = [c for c in found if _value(c.before) != _value(c.after)]
    names = {change.name for change in found}
    moved = {
        c.before.value: c.after.value
        for c in found
        if c.before and c.after and c.name.startswith("parameter ")
    }
    return [
        c
        for c in found
        if not (c.name.startswith("hashes ") and f"package {c.name[len('hashes ') :]}" in names)
        and not _follows(c, moved)
    ]


def _value(part: Part | None) -> str | None:
    return part.value if part else None


def _follows(change: Change, moved: Mapping[str, str]) -> bool:
    """Whether a text differs only where changed parameters (old -> new) stand in it."""
    if not (moved and change.before and change.after) or change.after.step is not None:
        return False
    if change.name.startswith("parameter "):
        return False
    return _derived(_parsed(change.before.value), _parsed(change.after.value), moved)


def _derived(old: Any, new: Any, moved: Mapping[str, str]) -> bool:
    match old, new:
        case dict(), dict():
            return old.keys() == new.keys() and all(_derived(old[k], new[k], moved) for k in old)
        case list(), list():
            pairs = zip(old, new, strict=False)
            return len(old) == len(new) and all(_derived(a, b, moved) for a, b in pairs)
        case str(), str():
            text = old
            for value, other in moved.items():
                if value:
                    text = text.replace(value, other)
            return new in (old, text)
    return bool(old == new) or moved.get(json.dumps(old)) == json.dumps(new)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("[", "{") else text
    except ValueError:
        return text


def words(change: Change, store: Store) -> str:
    """A change in words: `parameter depth changed: 3 -> 4`."""
    if change.before and change.after:
        old, new = _parsed(change.before.value), _parsed(change.after.value)
        if isinstance(old, list) and isinstance(new, list):
            return f"{change.name} changed: {_items(old, new)}"
        if isinstance(old, str) and isinstance(new, str) and len(old) + len(new) > 160:
            start = _common(old, new)
            end = _common(old[start:][::-1], new[start:][::-1])
            start = max(0, start - 20)
            old, new = (f"…{text[start : len(text) - end]}…" for text in (old, new))
            if len(old) + len(new) <= 160:
                return f"{change.name} changed: {old} -> {new}"
    parts = [[part] if part else [] for part in (change.before, change.after)]
    text = "; ".join(differences(parts[0], parts[1], store))
    spoken = _SPOKEN.get(change.name)
    return text.replace(change.name, spoken, 1) if spoken else text


def _items(old: list[Any], new: list[Any]) -> str:
    """The items that differ between two lists: `["5"] -> ["6"]`, with the one before them."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    context = old[start - 1 : start] if start else []
    return " -> ".join(
        _short(json.dumps([*context, *items[start : len(items) - end]], ensure_ascii=False))
        for items in (old, new)
    )


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}…"


def _common(old: Sequence[Any], new: Sequence[Any]) -> int:
    """How many items two sequences have in common at their beginning."""
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return index
    return min(len(old), len(new))
