"""The memory of one run: commits in groups, of which none is lost when one fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from coopery.memory import Memory
from coopery.steps import Identity, Record, Step, Store, Success


@dataclass(frozen=True, kw_only=True)
class Nothing:
    kind: ClassVar[str] = "nothing"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False


class FullStore:
    """Refuses commits while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.records: list[Record] = []
        self.successes: list[Success] = []
        self.commits = 0

    def latest(self, recipe: str) -> dict[str, Success]:
        return {s.step: s for s in self.successes if s.recipe == recipe}

    def recall(self, keys: Sequence[str]) -> dict[str, Record]:
        return {r.key: r for r in self.records if r.key in keys}

    def remember(self, records: Sequence[Record], successes: Sequence[Success] = ()) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.commits += 1
        self.records += records
        self.successes += successes


@pytest.fixture
def store() -> FullStore:
    return FullStore()


def memory(store: FullStore, run: str = "r1") -> Memory:
    return Memory(cast("Store", store), Path("/p/recipe.toml"), run)


def step(name: str, **options: Any) -> Step:
    return Step(name=name, work=Nothing(), outputs=("o",), **options)


O = {"o": Identity(digest="d", kind="file")}  # noqa: E741


def record(name: str, key: str) -> Record:
    return Record(key=key, step=name, kind="nothing", outputs=O)


def test_what_a_failed_commit_held_is_in_the_next_one(store: FullStore) -> None:
    mind = memory(store)
    store.full = True
    for name in ("a", "b"):
        with pytest.raises(OSError, match="No space"):
            mind.remember(step(name), record(name, name))
    assert store.records == []
    store.full = False
    mind.remember(step("c"), record("c", "c"))
    assert [r.step for r in store.records] == ["a", "b", "c"]
    assert [s.step for s in store.successes] == ["a", "b", "c"]


def test_the_latest_is_that_of_before_this_run(store: FullStore) -> None:
    memory(store).remember(step("a"), record("a", "1"))
    later = memory(store, "r2")
    assert later.latest("b") is None
    later.remember(step("a"), record("a", "2"))
    found = later.latest("a")
    assert found is not None and found.key == "1"
    found = memory(store).latest("a")
    assert found is not None and found.key == "2"


def test_what_was_the_latest_already_is_not_noted_again(store: FullStore) -> None:
    memory(store).remember(step("a"), record("a", "1"))
    again = memory(store, "r2")
    again.note(step("a"), "1", O)
    again.flush()
    assert store.commits == 1
    again.note(step("a", transient=frozenset({"o"})), "1", O)
    again.flush()
    assert store.commits == 2 and store.successes[-1].keeps == ()
    assert store.successes[0].keeps == ("d",)


def test_places_are_not_kept_as_bytes(store: FullStore) -> None:
    mind = memory(store)
    mind.note(step("env"), "k", {"o": Identity(digest="k", kind="place")})
    mind.flush()
    assert store.successes[0].keeps == ()
