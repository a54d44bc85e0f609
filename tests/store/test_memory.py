"""Records: kept, found again, and never served damaged."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from coopery.errors import MachineError
from coopery.steps import Identity, Success
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text, record


def test_a_record_comes_back_as_it_was(store: HomeStore) -> None:
    kept = record("k", model=put_text(store, "m"), report=put_folder(store, {"a/b": "1"}))
    store.remember([kept])
    found = store.recall(["k", "unknown"])
    assert found == {"k": kept}
    assert found["k"].parts == kept.parts
    assert found["k"].facts == kept.facts


def test_records_outlive_the_store_and_the_index(store: HomeStore, home: Path) -> None:
    kept = [record(f"k{i}", o=put_text(store, str(i))) for i in range(20)]
    store.remember(kept)
    store.close()
    for file in home.glob("index.sqlite*"):
        file.unlink()
    again = HomeStore(home)
    assert again.recall([r.key for r in kept]) == {r.key: r for r in kept}
    assert all(again.find(r.outputs["o"]) for r in kept)
    again.rebuild()
    assert len(again.recall([r.key for r in kept])) == 20
    again.close()


def test_an_index_that_vanishes_or_breaks_under_us_is_made_anew(
    store: HomeStore, home: Path
) -> None:
    kept = record("k", o=put_text(store, "x"))
    store.remember([kept])
    for file in home.glob("index.sqlite*"):
        file.unlink()
    assert store.recall(["k"]) == {"k": kept}
    store.close()
    (home / "index.sqlite").write_bytes(b"this is no database" * 1000)
    again = HomeStore(home)
    assert again.recall(["k"]) == {"k": kept}
    assert [f for f in (home / "quarantine").iterdir() if f.name.startswith("index-")]
    again.close()


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_cut_off_index_is_made_anew(store: HomeStore, home: Path, length: int) -> None:
    kept = [record(f"k{i}", o=put_text(store, str(i))) for i in range(50)]
    store.remember(kept)
    store.close()
    content = (home / "index.sqlite").read_bytes()
    (home / "index.sqlite").write_bytes(content[:length])
    again = HomeStore(home)
    assert len(again.recall([r.key for r in kept])) == 50
    again.close()


def test_a_damaged_row_is_a_miss_and_a_damaged_line_is_skipped(
    store: HomeStore, home: Path
) -> None:
    store.remember([record("a", o=put_text(store, "1")), record("b", o=put_text(store, "2"))])
    connection = sqlite3.connect(home / "index.sqlite")
    connection.execute("UPDATE results SET outputs = replace(outputs, '\"file\"', '\"fold\"')")
    connection.execute("UPDATE results SET outputs = CAST(outputs AS BLOB)")
    connection.commit()
    connection.close()
    assert store.recall(["a", "b"]) == {}
    journal = home / "records/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b"depth", b"death")
    journal.write_bytes(b"".join(lines) + b'00000000 ["cut o')
    store.rebuild()
    assert list(store.recall(["a", "b"])) == ["b"]
    store.remember([record("c", o=put_text(store, "3"))])
    store.rebuild()
    assert sorted(store.recall(["a", "b", "c"])) == ["b", "c"]


def test_a_lost_journal_is_written_anew(store: HomeStore, home: Path) -> None:
    store.remember([record("a", o=put_text(store, "1"))])
    store.close()
    (home / "records/journal.jsonl").unlink()
    again = HomeStore(home)
    again.rebuild()
    assert list(again.recall(["a"])) == ["a"]
    again.close()


def test_the_latest_successes_are_those_of_a_recipe(store: HomeStore, home: Path) -> None:
    assert store.latest("/a/recipe.toml") == {}
    first = Success(recipe="/a/recipe.toml", step="fit", key="1", keeps=("x", "y"), run="r1")
    other = Success(recipe="/b/\udcff.toml", step="fit", key="2", run="r1")
    store.remember([record("1", o=put_text(store, "1"))], [first, other])
    assert store.latest("/a/recipe.toml") == {"fit": first}
    assert store.latest("/b/\udcff.toml") == {"fit": other}
    later = replace(first, key="3", keeps=(), run="r2")
    store.remember([], [later])
    assert store.latest("/a/recipe.toml") == {"fit": later}
    store.rebuild()
    assert store.latest("/a/recipe.toml") == {"fit": later}
    assert store.latest("/b/\udcff.toml") == {"fit": other}
    store.close()
    (home / "records/journal.jsonl").unlink()
    again = HomeStore(home)
    again.rebuild()
    assert again.latest("/a/recipe.toml") == {"fit": later}
    again.close()


def test_many_keys_at_once(store: HomeStore) -> None:
    found = put_text(store, "1")
    store.remember([record(f"k{i}", o=found) for i in range(1700)])
    assert len(store.recall([f"k{i}" for i in range(2000)])) == 1700


def slug_of(home: Path) -> str:
    with pytest.raises(MachineError) as error:
        HomeStore(home)
    assert error.value.problems[0].hint
    return error.value.problems[0].slug


def test_homes_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert slug_of(tmp_path / "file") == "home-unusable"
    assert slug_of(tmp_path / "file/below") == "home-unusable"
    HomeStore(tmp_path / "h").close()
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o700
    (tmp_path / "h/version").write_text("999\n")
    assert slug_of(tmp_path / "h") == "home-newer"
    (tmp_path / "h/version").write_text("?\n")
    assert slug_of(tmp_path / "h") == "home-unusable"
    (tmp_path / "h/version").write_text("1\n")
    with monkeypatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 54321)
        assert slug_of(tmp_path / "h") == "home-unusable"
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        assert slug_of(tmp_path / "h") == "home-unusable"
    HomeStore(tmp_path / "h").close()


def test_nothing_is_remembered_when_its_objects_cannot_be_made_durable(
    store: HomeStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = put_text(store, "1")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(MachineError) as error:
            store.remember([record("k", o=found)])
    assert error.value.problems[0].slug == "disk-full"
    assert store.recall(["k"]) == {}
    assert not (home / "records/journal.jsonl").exists()
    store.remember([record("k", o=found)])
    assert list(store.recall(["k"])) == ["k"]


def test_identities_of_kinds_survive(store: HomeStore) -> None:
    place = Identity(digest="abc", kind="place")
    store.remember([record("k", env=place)])
    assert store.recall(["k"])["k"].outputs["env"] == place
