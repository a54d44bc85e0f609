"""Deliveries: whole, ours alone to replace, and recognised again with little effort."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coopery.errors import MachineError, StepError
from coopery.steps import Identity
from coopery_store import delivering, kernel
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text


def slug(error: pytest.ExceptionInfo[StepError] | pytest.ExceptionInfo[MachineError]) -> str:
    return error.value.problems[0].slug


def results(store: HomeStore, kind: str, text: str) -> Identity:
    return put_text(store, text) if kind == "file" else put_folder(store, {"a": text, "b": "="})


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_result_is_delivered_replaced_and_recognised(
    store: HomeStore, tmp_path: Path, kind: str
) -> None:
    destination = tmp_path / "build/deep/out"
    one, two = results(store, kind, "1"), results(store, kind, "2")
    assert store.deliverable([destination]) == {destination: "absent"}
    for identity in (one, two, one, one):
        store.deliver(identity, destination, overwrite=False)
        assert store.deliverable([destination]) == {destination: identity.digest}
        assert store.identify(destination) == identity
    file = destination / "a" if kind == "folder" else destination
    assert os.access(file, os.W_OK) and file.stat().st_mode & 0o200
    assert [p.name for p in destination.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("mine", ["file", "folder", "link", "edited"])
def test_others_work_is_not_overwritten_unless_told(
    store: HomeStore, tmp_path: Path, kind: str, mine: str
) -> None:
    destination = tmp_path / "out"
    match mine:
        case "file":
            destination.write_text("mine")
        case "folder":
            destination.mkdir()
            (destination / "mine").write_text("mine")
        case "link":
            (tmp_path / "elsewhere").write_text("mine")
            destination.symlink_to("elsewhere")
        case _:
            store.deliver(results(store, kind, "0"), destination, overwrite=False)
            (destination / "a" if kind == "folder" else destination).write_text("mine")
    identity = results(store, kind, "1")
    assert store.deliverable([destination]) == {destination: "edited"}
    with pytest.raises(StepError) as error:
        store.deliver(identity, destination, overwrite=False)
    assert slug(error) == "output-edited" and "--overwrite" in str(error.value)
    assert store.deliverable([destination]) == {destination: "edited"}
    store.deliver(identity, destination, overwrite=True)
    assert store.identify(destination) == identity and not destination.is_symlink()
    if mine == "link":
        assert (tmp_path / "elsewhere").read_text() == "mine"


def test_equal_content_is_adopted(store: HomeStore, tmp_path: Path) -> None:
    identity = put_text(store, "same")
    (tmp_path / "out").write_text("same")
    inode = (tmp_path / "out").stat().st_ino
    store.deliver(identity, tmp_path / "out", overwrite=False)
    assert (tmp_path / "out").stat().st_ino == inode
    store.drop(identity)
    assert store.deliverable([tmp_path / "out"]) == {tmp_path / "out": identity.digest}


def test_content_is_adopted_even_when_its_bytes_are_gone(store: HomeStore, tmp_path: Path) -> None:
    identity = put_text(store, "same")
    store.drop(identity)
    (tmp_path / "out").write_text("same")
    store.deliver(identity, tmp_path / "out", overwrite=False)
    with pytest.raises(StepError) as error:
        store.deliver(identity, tmp_path / "other", overwrite=False)
    assert slug(error) == "lost-bytes"


def test_an_empty_folder_is_nobodys_work(store: HomeStore, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    identity = put_folder(store, {"a": "1"})
    assert store.deliverable([tmp_path / "out"]) == {tmp_path / "out": "absent"}
    store.deliver(identity, tmp_path / "out", overwrite=False)
    assert store.identify(tmp_path / "out") == identity


def test_deliveries_are_known_without_the_index_and_without_the_bytes(
    home: Path, tmp_path: Path
) -> None:
    store = HomeStore(home)
    identity = put_text(store, "1")
    store.deliver(identity, tmp_path / "out", overwrite=False)
    store.drop(identity)
    store.close()
    (home / "index.sqlite").unlink()
    store = HomeStore(home)
    assert store.deliverable([tmp_path / "out"]) == {tmp_path / "out": identity.digest}
    store.close()


def test_a_touched_delivery_is_not_edited(store: HomeStore, tmp_path: Path) -> None:
    identity = put_text(store, "1")
    store.deliver(identity, tmp_path / "out", overwrite=False)
    os.utime(tmp_path / "out", (1, 1))
    assert store.deliverable([tmp_path / "out"]) == {tmp_path / "out": identity.digest}


def test_one_odd_destination_does_not_hide_the_others(store: HomeStore, tmp_path: Path) -> None:
    identity = put_text(store, "1")
    store.deliver(identity, tmp_path / "out", overwrite=False)
    os.mkfifo(tmp_path / "pipe")
    assert store.deliverable([tmp_path / "pipe", tmp_path / "out", tmp_path / "no"]) == {
        tmp_path / "pipe": "edited",
        tmp_path / "out": identity.digest,
        tmp_path / "no": "absent",
    }


def test_without_exchange_folders_are_replaced_all_the_same(
    store: HomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "exchange", lambda *_: False)
    for text in "12":
        identity = put_folder(store, {"a": text})
        store.deliver(identity, tmp_path / "out", overwrite=False)
        assert store.identify(tmp_path / "out") == identity


def test_a_destination_that_cannot_be_is_told(store: HomeStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError) as error:
        store.deliver(put_text(store, "1"), tmp_path / "file/out", overwrite=False)
    assert slug(error) == "unwritable"


def test_a_full_disk_leaves_the_old_delivery(
    store: HomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = put_text(store, "1"), put_text(store, "2")
    store.deliver(one, tmp_path / "d/out", overwrite=False)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(MachineError) as error:
            store.deliver(two, tmp_path / "d/out", overwrite=False)
    assert slug(error) == "disk-full"
    assert (tmp_path / "d/out").read_text() == "1"
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["out"]


def test_what_a_killed_delivery_left_behind_is_cleared_up(
    store: HomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = put_folder(store, {"a": "1"}), put_folder(store, {"a": "2"})
    store.deliver(one, tmp_path / "d/out", overwrite=False)
    real = kernel.exchange

    def killed(*arguments: bytes) -> bool:
        real(*arguments)
        # What is left cannot be removed either: nothing runs any more.
        patch.setattr(delivering, "remove", lambda _: None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "exchange", killed)
        with pytest.raises(KeyboardInterrupt):
            store.deliver(two, tmp_path / "d/out", overwrite=False)
    assert len(list((tmp_path / "d").iterdir())) == 2
    assert store.deliverable([tmp_path / "d/out"]) == {tmp_path / "d/out": two.digest}
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["out"]
