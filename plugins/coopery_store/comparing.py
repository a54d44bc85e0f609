"""Whether the index says what the journal says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coopery_store.entries import is_sound


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryState:
    """How many results there are, the bytes read, and what is wrong: `damaged_lines` of the
    journal by number (from 1), `index` and `journal` as a text, empty if all is well.
    """

    results: int
    bytes: int
    damaged_lines: tuple[int, ...]
    index: str
    journal: str


def compare(
    lines: Sequence[str | None],
    rows: Sequence[tuple[Any, ...]],
    integrity: Sequence[tuple[Any, ...]],
    size: int,
) -> MemoryState:
    """Judge the journal's lines (None for a damaged one) and the index's rows of results."""
    said: dict[str, tuple[bytes, bytes]] = {}
    for text in lines:
        match json.loads(text) if text is not None else None:
            case ["result", key, _, _, _, _, str(outputs), str(rest)]:
                said[key] = outputs.encode(), rest.encode()
    damaged = tuple(number for number, text in enumerate(lines, 1) if text is None)
    sound = {row[0]: (row[5], row[6]) for row in rows if is_sound(row)}
    wrongs = [str(text) for (text,) in integrity if text != "ok"][:3]
    if count := len(rows) - len(sound):
        wrongs.append(f"{count} results cannot be read")
    keys = {row[0] for row in rows}
    if count := len(said.keys() - keys):
        wrongs.append(f"{count} results are missing from it")
    if count := sum(said.get(key, pair) != pair for key, pair in sound.items()):
        wrongs.append(f"{count} results are not what the journal says")
    missing = len(sound.keys() - said.keys())
    return MemoryState(
        results=len(sound.keys() | said.keys()),
        bytes=size + sum(len(outputs) + len(rest) for outputs, rest in sound.values()),
        damaged_lines=damaged,
        index="; ".join(wrongs),
        journal=f"{missing} results are missing from it" if missing else "",
    )
