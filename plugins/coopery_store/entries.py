"""What the journal says and the index holds of it: records of results, and deliveries."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from coopery.steps import Identity, Part, Record, Success

Change = tuple[str, Iterable[tuple[object, ...]]]
"""An SQL statement, and the rows of parameters to run it with."""

COLUMNS = "key, step, kind, run, finished, outputs, rest, crc"
_KEEP = f"INSERT OR REPLACE INTO results({COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"
_DELIVERED = "INSERT OR REPLACE INTO deliveries(destination, digest) VALUES(?, ?)"
LATEST = "SELECT recipe, step, key, keeps, run FROM latest WHERE recipe = ?"
_SUCCEEDED = "INSERT OR REPLACE INTO latest(recipe, step, key, keeps, run) VALUES(?, ?, ?, ?, ?)"
_KEPT = "INSERT OR IGNORE INTO kept(digest) VALUES(?)"
_POSITION = "INSERT OR REPLACE INTO meta(name, value) VALUES('journal', ?)"

_encode = json.JSONEncoder(separators=(",", ":")).encode


class StoredRecord(Record):
    """A record whose parts and facts are read only when asked for: most never are.

    What an index of 10,000 results costs at each start is this class's whole reason.
    """

    @cached_property
    def _rest(self) -> tuple[tuple[Part, ...], Mapping[str, Any]]:
        parts, facts = json.loads(self.__dict__["rest"])
        return tuple(Part(name=n, value=v, step=s) for n, v, s in parts), facts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """See `Record`."""
        return self._rest[0]

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """See `Record`."""
        return self._rest[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(self.key)


def _values(record: Record) -> tuple[object, ...]:
    names = ("key", "step", "kind", "outputs", "parts", "run", "finished", "facts")
    return tuple(getattr(record, name) for name in names)


def record_text(record: Record) -> str:
    """A record as an entry of the journal. Raises TypeError for facts that JSON cannot hold."""
    outputs = {name: [i.digest, i.kind, i.size] for name, i in record.outputs.items()}
    parts = [[part.name, part.value, part.step] for part in record.parts]
    head = [record.key, record.step, record.kind, record.run, record.finished]
    return _encode(["result", *head, _encode(outputs), _encode([parts, record.facts])])


def delivery_text(destination: bytes, digest: str) -> str:
    """A delivery as an entry of the journal."""
    return _encode(["delivery", os.fsdecode(destination), digest])


def success_text(success: Success) -> str:
    """A success as an entry of the journal."""
    keeps = " ".join(success.keeps)
    return _encode(["latest", success.recipe, success.step, success.key, keeps, success.run])


def success(row: tuple[Any, ...]) -> Success:
    """The success in a row of `LATEST`."""
    recipe, step, key, keeps, run = row
    keeps = tuple(keeps.split())
    return Success(recipe=os.fsdecode(recipe), step=step, key=key, keeps=keeps, run=run)


def changes(texts: Sequence[str]) -> list[Change]:
    """What these entries change in the index."""
    results: list[tuple[object, ...]] = []
    delivered: list[tuple[object, ...]] = []
    succeeded: list[tuple[object, ...]] = []
    kept: set[str] = set()
    for text in texts:
        match json.loads(text):
            case ["result", *head, outputs, rest]:
                pair = outputs.encode(), rest.encode()
                results.append((*head, *pair, _crc(head[0], *pair)))
            case ["delivery", destination, digest]:
                delivered.append((os.fsencode(destination), digest))
            case ["latest", recipe, step, key, keeps, run]:
                succeeded.append((os.fsencode(recipe), step, key, keeps, run))
                kept.update(keeps.split())
            # Entries of other kinds are a newer coopery's of the same layout: not ours to judge.
    return [
        (_KEEP, results),
        (_DELIVERED, delivered),
        (_SUCCEEDED, succeeded),
        (_KEPT, [(digest,) for digest in kept]),
    ]


def position(end: int) -> Change:
    """The change that notes how much of the journal the index holds."""
    return _POSITION, [(end,)]


def exported(select: Callable[[str], list[tuple[Any, ...]]]) -> Iterator[str]:
    """The entries that would bring the index to where it is."""
    for *head, outputs, rest, crc in select(f"SELECT {COLUMNS} FROM results ORDER BY finished"):
        if _crc(head[0], outputs, rest) == crc:
            yield _encode(["result", *head, outputs.decode(), rest.decode()])
    for destination, digest in select("SELECT destination, digest FROM deliveries"):
        yield delivery_text(destination, digest)
    for recipe, *rest in select("SELECT recipe, step, key, keeps, run FROM latest"):
        yield _encode(["latest", os.fsdecode(recipe), *rest])


def records(rows: Iterable[tuple[Any, ...]]) -> Iterator[StoredRecord]:
    """The undamaged records among rows of `COLUMNS`."""
    sound = [row for row in rows if is_sound(row)]
    # One call for all: JSON's price is mostly by the call.
    every = json.loads(b"[%b]" % b",".join(row[5] for row in sound))
    for (key, step, kind, run, finished, _, rest, _), outputs in zip(sound, every, strict=True):
        found = object.__new__(StoredRecord)
        found.__dict__.update(
            key=key,
            step=step,
            kind=kind,
            run=run,
            finished=finished,
            outputs={
                name: Identity(digest=digest, kind=what, size=size)
                for name, (digest, what, size) in outputs.items()
            },
            rest=rest,
        )
        yield found


def is_sound(row: tuple[Any, ...]) -> bool:
    """Whether a row of `COLUMNS` is what was written."""
    return all(isinstance(row[i], bytes) for i in (5, 6)) and (
        _crc(row[0], row[5], row[6]) == row[7]
    )


def _crc(key: str, outputs: bytes, rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(outputs, zlib.crc32(key.encode())))
