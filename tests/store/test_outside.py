"""What results keep outside the home stays within its own budget; what goes is of no use to anyone.

The keeper is a folder beside the home: of each thing a file, and in the home a note of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coopery.elsewhere import Holding, Kept
from coopery.errors import MachineError, Problem
from coopery.steps import Identity
from coopery_store.options import Limits
from coopery_store.outside import Emptied
from coopery_store.store import HomeStore

from .test_crashes import killed_at

DAY = 86400


def limits(images: float | None, *, budget: float | None = None, age: float = 0) -> Limits:
    return Limits(budget=budget, age=age, keep_runs=10, images_budget=images)


@dataclass
class Keeper:
    """A keeper of jars: files of JSON, that say what they are built on."""

    folder: Path
    used: set[str] = field(default_factory=set)
    """The names of those that cannot go: something has them in its hands."""
    asked: int = 0
    silent: bool = False

    def fill(self, key: str, size: int, on: str = "", spare: bool = False) -> str:
        self.folder.mkdir(exist_ok=True)
        name = f"{key}-spare" if spare else key
        (self.folder / name).write_text(json.dumps([key, size, on, spare]))
        return name

    def weigh(self, places: Mapping[str, Path]) -> Sequence[Holding]:
        self.asked += 1
        kept = []
        for path in sorted(self.folder.iterdir()):
            key, size, on, spare = json.loads(path.read_text())
            kept.append(Kept(key=key, name=path.name, size=size, on=on, spare=spare))
        if self.silent:
            noted = tuple(k for k in kept if k.key in places)
            return [Holding(kind="jars", kept=noted, unseen="the cellar is locked")]
        return [Holding(kind="jars", kept=tuple(kept), where="the cellar")]

    def let_go(self, kind: str, kept: Kept) -> bool:
        assert kind == "jars"
        if kept.name in self.used:
            return False
        (self.folder / kept.name).unlink(missing_ok=True)
        return True

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    import coopery_store.survey as module

    real = module._item

    def item(kind, name, path, status, known, fresh):  # type: ignore[no-untyped-def]
        """As if files were older than all that was noted of their uses."""
        made = real(kind, name, path, status, known, fresh)
        used = known.get(name, (made.used, None))[0]
        return module.Item(
            kind=made.kind, name=made.name, path=made.path, size=made.size, used=used
        )

    monkeypatch.setattr(module, "_item", item)
    return Keeper(tmp_path / "cellar")


def note(home: Path, *keys: str, used: Mapping[str, int] | None = None) -> None:
    """Results in place of a session that has ended, with times of last use."""
    store = HomeStore(home)
    for key in keys:
        (store.place(key) / "note").write_text(key)
        store.complete(key)
    store.close()
    store = HomeStore(home)
    change = "INSERT OR REPLACE INTO uses(name, used) VALUES(?, ?)"
    store._index.apply([(change, [(f"place:{k}", t) for k, t in (used or {}).items()])])
    store.close()


def swept(home: Path, keeper: Keeper, limits: Limits, **more: Any) -> Emptied:
    store = HomeStore(home)
    try:
        (found,) = store.sweeper.sweep(limits, keeper, **more).outside  # type: ignore[arg-type]
        return found
    finally:
        store.close()


def sweep_all(home: Path, keeper: Keeper) -> None:
    swept(home, keeper, limits(0))


def places(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "places").iterdir() if path.is_dir())


def test_the_least_recently_used_goes_first_and_only_as_much_as_needed(
    home: Path, keeper: Keeper
) -> None:
    for key in ("a", "b", "c"):
        keeper.fill(key, 100)
    note(home, "a", "b", "c", used={"a": 2000, "b": 1000, "c": 3000})
    before = swept(home, keeper, limits(250), dry_run=True)
    assert (before.evicted, before.freed, keeper.left) == (1, 100, ["a", "b", "c"])
    found = swept(home, keeper, limits(250))
    assert (found.evicted, found.after, found.over) == (1, 200, 0)
    assert keeper.left == places(home) == ["a", "c"], "the note goes with it"
    assert swept(home, keeper, limits(None)).evicted == 0


def test_what_others_are_built_on_stays_as_long_as_they(home: Path, keeper: Keeper) -> None:
    """Even if nobody has used it for longest, and though it is large."""
    keeper.fill("base", 1000)
    keeper.fill("old", 10, on="base")
    keeper.fill("new", 10, on="base")
    note(home, "base", "old", "new", used={"base": 1, "old": 1000, "new": 5000})
    assert swept(home, keeper, limits(1010)).evicted == 1
    assert keeper.left == ["base", "new"]
    keeper.used = {"new"}
    assert swept(home, keeper, limits(0)).in_use == 1 and keeper.left == ["base", "new"]
    keeper.used = set()
    assert swept(home, keeper, limits(0)).evicted == 2 and keeper.left == places(home) == []


def test_what_is_young_or_leased_stays(home: Path, keeper: Keeper) -> None:
    now = int(time.time())
    for key in ("old", "young", "leased"):
        keeper.fill(key, 100)
    note(home, "old", "young", "leased", used={"old": 1, "young": now - 60, "leased": 2})
    run = HomeStore(home)
    run.lease([Identity(digest="leased", kind="place")])
    found = swept(home, keeper, limits(0, age=0), dry_run=True)
    assert (found.evicted, found.in_use) == (2, 1), "a dry run tells the same"
    found = swept(home, keeper, limits(0, age=0))
    assert (found.evicted, found.in_use, keeper.left) == (2, 1, ["leased"])
    run.close()
    assert swept(home, keeper, limits(0)).evicted == 1


def test_what_is_within_the_age_stays(home: Path, keeper: Keeper) -> None:
    keeper.fill("young", 100)
    note(home, "young")
    found = swept(home, keeper, limits(0, age=DAY))
    assert (found.young, found.over, keeper.left) == (1, 100, ["young"])


def test_what_no_result_is_behind_goes_in_any_case(home: Path, keeper: Keeper) -> None:
    """Unless a run has its key in use, which makes it, or what is of use is built on it."""
    for key in ("lost", "under", "making", "made"):
        keeper.fill(key, 10)
    keeper.fill("made", 10, spare=True)
    keeper.fill("kept", 10, on="under")
    note(home, "made", "kept")
    run = HomeStore(home)
    run.lease([Identity(digest="making", kind="place")])
    found = swept(home, keeper, limits(None, age=DAY))
    assert keeper.left == ["kept", "made", "making", "under"]
    assert (found.evicted, found.in_use) == (2, 1)
    run.close()


def test_the_homes_own_budget_takes_no_note(home: Path, keeper: Keeper) -> None:
    """What a few bytes of it are about took minutes to make."""
    keeper.fill("image", 100)
    note(home, "image", "environment")
    assert swept(home, keeper, limits(None, budget=0)).evicted == 0
    assert places(home) == ["image"] and keeper.left == ["image"]


def test_who_cannot_be_asked_loses_nothing(home: Path, keeper: Keeper) -> None:
    keeper.fill("image", 100)
    note(home, "image", "environment")
    keeper.silent = True
    found = swept(home, keeper, limits(0, budget=0))
    assert (found.unseen, found.evicted, found.before) == ("the cellar is locked", 0, 100)
    assert places(home) == ["image"], "the home is tidied nevertheless"


def test_who_is_lost_midway_keeps_note_and_result(
    home: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.fill("image", 100)
    note(home, "image")

    def lost(kind: str, kept: Kept) -> bool:
        raise MachineError(Problem(slug="engine-lost", message="it was lost"))

    monkeypatch.setattr(keeper, "let_go", lost)
    found = swept(home, keeper, limits(0))
    assert (found.unseen, found.evicted) == ("it was lost", 0)
    assert places(home) == keeper.left == ["image"]


def test_a_run_asks_only_where_it_made_something(home: Path, keeper: Keeper) -> None:
    keeper.fill("a", 100)
    keeper.fill("b", 100)
    note(home, "a", used={"a": 1})
    for made, asked, left in ((False, 0, ["a", "b"]), (True, 1, ["b"])):
        store = HomeStore(home, limits(100, budget=10**12))
        store._uses.note_measured(1, time.time())
        if made:
            (store.place("b") / "note").write_text("b")
            store.complete("b")
        told = store.tidy(keeper)  # type: ignore[arg-type]
        assert keeper.asked == asked and keeper.left == left
        assert told == ("evicted 1 jar, 100 B, from the cellar" if made else "")
        store.close()


def test_killed_before_any_change_it_leaves_a_whole_home(tmp_path: Path) -> None:
    home, keeper = tmp_path / "home", Keeper(tmp_path / "cellar")
    number, killed = 0, True
    while killed:
        number += 1
        keeper.fill("a", 100)
        keeper.fill("b", 100, on="a")
        keeper.fill("lost", 100)
        note(home, "a", "b")
        killed = killed_at(number, partial(sweep_all, home, keeper))
        store = HomeStore(home)
        check = store.check(repair=False, tell=lambda text: None)
        assert not check.damages, (number, check.damages)
        for key in ("a", "b"):
            # Without a note nobody takes it for there; with one, it is looked for.
            store.lease([Identity(digest=key, kind="place")])
            assert store.find(Identity(digest=key, kind="place")) in (
                None,
                home / "places" / key,
            )
        store.close()
        # A note of what is gone is none any more, and goes as all else in the home does.
        assert swept(home, keeper, limits(0, budget=0)).after == 0
        assert places(home) == keeper.left == [], number
    assert number > 8
