"""Identities of project files: one stat each when nothing changed, and never stale."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coopery import trees
from coopery.errors import StepError
from coopery_store import stats
from coopery_store.store import HomeStore


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths that are hashed."""
    seen: list[bytes] = []
    real = trees.hash_file

    def watched(path: bytes, *, follow: bool = True) -> object:
        seen.append(path)
        return real(path, follow=follow)

    monkeypatch.setattr(stats, "hash_file", watched)
    return seen


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if files had been written long before they are hashed."""
    monkeypatch.setattr(stats, "_GRANULARITY", -(10**12))


def test_unchanged_files_are_not_read_again(
    home: Path, tmp_path: Path, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    files = [tmp_path / f"f{i}" for i in range(5)]
    for file in files:
        file.write_text(file.name)
    store = HomeStore(home)
    first = store.identify_many(files)
    store.close()
    assert len(reads) == 5
    store = HomeStore(home)
    assert store.identify_many([*files, tmp_path / "absent"]) == first
    assert len(reads) == 5
    store.close()


@pytest.mark.parametrize("change", ["content", "mode", "replaced", "times restored"])
def test_a_changed_file_is_read_again(
    store: HomeStore,
    tmp_path: Path,
    reads: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    settled(monkeypatch)
    file = tmp_path / "f"
    file.write_text("aaaa")
    os.utime(file, (1, 1))
    before = store.identify(file)
    match change:
        case "content":
            file.write_text("bbbb")
        case "mode":
            file.chmod(0o755)
        case "replaced":
            (tmp_path / "g").write_text("bbbb")
            os.utime(tmp_path / "g", (1, 1))
            (tmp_path / "g").rename(file)
        case _:
            file.write_text("bbbb")
            os.utime(file, (1, 1))
    assert store.identify(file).digest != before.digest


def test_a_young_file_is_read_again(store: HomeStore, tmp_path: Path, reads: list[bytes]) -> None:
    (tmp_path / "f").write_text("x")
    store.identify(tmp_path / "f")
    store.identify(tmp_path / "f")
    assert len(reads) == 2


def test_chosen_files_have_the_identity_of_the_folder_that_holds_just_them(
    store: HomeStore, tmp_path: Path
) -> None:
    top = tmp_path / "p"
    (top / "src/deep").mkdir(parents=True)
    (top / "src/deep/a.py").write_text("a")
    (top / "run.sh").write_text("b")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("src/deep")
    (top / "ignored").write_text("c")
    files = ["link", "run.sh", "src/deep/a.py"]
    for file in files:
        store.copy(top / file, tmp_path / "export" / file)
    chosen = store.identify_set(top, files)
    assert chosen == store.identify(tmp_path / "export")
    assert set(store.listing(chosen) or ()) == {*files, "src/", "src/deep/"}
    with pytest.raises(FileNotFoundError):
        store.identify_set(top, ["gone"])


def test_listings_tell_two_states_apart(home: Path, tmp_path: Path) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "a").write_text("1")
    store = HomeStore(home)
    one = store.identify(top)
    (top / "a").write_text("2")
    other = store.identify(top)
    store.close()
    store = HomeStore(home)
    before, after = store.listing(one), store.listing(other)
    assert before is not None and after is not None
    assert before.keys() == after.keys() == {"a"}
    assert before["a"] != after["a"]
    store.close()


def test_an_input_may_be_a_link_and_folders_may_hold_inner_ones(
    store: HomeStore, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert store.identify(tmp_path / "link") == store.identify(tmp_path / "data")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/out").symlink_to("../data")
    with pytest.raises(StepError) as error:
        store.identify_many([tmp_path / "p"])
    assert error.value.problems[0].slug == "link-outside"


def test_what_may_not_be_read_is_told(
    store: HomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")

    def closed(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / "f"))

    monkeypatch.setattr("os.open", closed)
    with pytest.raises(StepError) as error:
        store.identify_many([tmp_path / "f"])
    assert error.value.problems[0].slug == "unreadable"
