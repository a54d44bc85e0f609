"""Indexes that a recipe names, together with what requirements files say of indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from coopery.errors import Place
from coopery.model import Index
from coopery_lock.files import Reading
from coopery_lock.lines import Refusals


def name_indexes(reading: Reading, items: Sequence[Index], locate: Callable[[int], Place]) -> None:
    """Add them to what was read. One that takes the place of the machine's is named once."""
    index = reading.index
    places = index.places
    first: str | None = None
    seen: set[str] = set()
    for number, item in enumerate(items):
        refuse = Refusals(place=locate(number), problems=reading.problems)
        url = item.url.rstrip("/")
        if url in seen:
            refuse("duplicate-index", f"the index {item.url} is named twice", "name it once")
        seen.add(url)
        written = first or index.index_url
        if not item.extra and written is not None and written.rstrip("/") != url:
            message = f"two indexes take the place of the machine's: {written} and {item.url}"
            refuse("duplicate-index", message, "write extra = true for what is asked besides")
        first = first or (None if item.extra else item.url)
        places = (*places, (item.url, refuse.place))
    reading.index = replace(index, named=tuple(items), places=places)
