"""Objects: taken by rename, never shared, never served damaged; and results in place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from coopery.errors import MachineError, StepError
from coopery_store import diagnosing
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text, record


def slug(error: pytest.ExceptionInfo[StepError]) -> str:
    return error.value.problems[0].slug


def test_a_file_is_moved_not_copied_and_is_read_only(store: HomeStore) -> None:
    file = store.scratch("t") / "out"
    file.write_text("content")
    inode = file.stat().st_ino
    identity = store.put(file)
    path = store.find(identity)
    assert path is not None and path.stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o444
    assert not file.exists()
    assert identity.kind == "file" and identity.size == 7


def test_what_is_there_already_is_not_kept_twice(store: HomeStore, home: Path) -> None:
    assert put_text(store, "same") == put_text(store, "same")
    assert put_text(store, "same", mode=0o755) != put_text(store, "same")
    files = {"a": "1", "sub/b": "2"}
    assert put_folder(store, files) == put_folder(store, files)
    assert len(list(home.glob("objects/*/*"))) == 3


def test_the_identity_of_an_output_is_that_of_the_same_file_in_a_project(
    store: HomeStore, tmp_path: Path
) -> None:
    (tmp_path / "p/sub").mkdir(parents=True)
    (tmp_path / "p/a").write_text("1")
    (tmp_path / "p/sub/b").write_text("2")
    assert put_text(store, "1") == store.identify(tmp_path / "p/a")
    assert put_folder(store, {"a": "1", "sub/b": "2"}) == store.identify(tmp_path / "p")


def test_a_hard_link_left_elsewhere_cannot_change_an_object(
    store: HomeStore, tmp_path: Path
) -> None:
    for kind in ("file", "folder"):
        out = store.scratch("t") / "out"
        file = out / "inner" if kind == "folder" else out
        if kind == "folder":
            out.mkdir()
        file.write_text("content")
        os.link(file, tmp_path / kind)
        path = store.find(store.put(out))
        assert path is not None
        (tmp_path / kind).write_text("changed")
        inner = path / "inner" if kind == "folder" else path
        assert inner.read_text() == "content"
        assert inner.stat().st_nlink == 1


@pytest.mark.parametrize("keep_size", [True, False])
def test_a_damaged_object_is_set_aside_and_never_served(
    store: HomeStore, home: Path, keep_size: bool
) -> None:
    identity = put_text(store, "content")
    store.remember([record("k", o=identity)])
    path = store.find(identity)
    assert path is not None
    path.chmod(0o644)
    path.write_text("CONTENT" if keep_size else "")
    assert store.find(identity) is None
    assert len(list((home / "quarantine").iterdir())) == 1
    assert put_text(store, "content") == identity  # and can be made again
    assert store.find(identity) == path


def replace_by_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("/etc")


def test_a_damaged_folder_is_set_aside(store: HomeStore) -> None:
    for damage in (
        lambda p: (p / "new").write_text(""),
        lambda p: (p / "a").unlink(),
        lambda p: os.mkfifo(p / "pipe"),
        lambda p: (p / "b").chmod(0o755),
        replace_by_link,
    ):
        identity = put_folder(store, {"a": "1", "b": "2"})
        path = store.find(identity)
        assert path is not None
        damage(path)
        assert store.find(identity) is None


def test_an_object_touched_but_not_changed_is_still_good(store: HomeStore) -> None:
    identity = put_text(store, "content")
    path = store.find(identity)
    assert path is not None
    os.utime(path, (1, 1))
    assert store.find(identity) == path


def test_a_writer_that_is_still_at_it_is_noticed(store: HomeStore) -> None:
    out = store.scratch("t") / "out"
    with out.open("w") as late:
        late.write("before")
        late.flush()
        identity = store.put(out)
        late.write("after")
        late.flush()
    assert store.find(identity) is None


def test_outputs_that_cannot_be_kept_are_refused(store: HomeStore) -> None:
    out = store.scratch("t") / "out"
    os.mkfifo(out)
    with pytest.raises(StepError) as error:
        store.put(out)
    assert slug(error) == "special-file"
    out.unlink()
    out.symlink_to("inside")
    with pytest.raises(StepError) as error:
        store.put(out)
    assert slug(error) == "link-outside"
    out.unlink()
    out.mkdir()
    (out / "l").symlink_to("/etc/passwd")
    with pytest.raises(StepError) as error:
        store.put(out)
    assert slug(error) == "link-outside"
    assert out.is_dir()  # left for people to look at
    with pytest.raises(FileNotFoundError):
        store.put(out / "absent")


def test_links_empty_folders_and_odd_names_are_kept(store: HomeStore, tmp_path: Path) -> None:
    out = store.scratch("t") / "out"
    (out / "empty").mkdir(parents=True)
    (out / "link").symlink_to("empty")
    odd = os.fsdecode(b"odd\xff\n name")
    (out / odd).write_text("x")
    identity = store.put(out)
    path = store.find(identity)
    assert path is not None
    store.copy(path, tmp_path / "copy")
    assert store.identify(tmp_path / "copy") == identity
    assert store.listing(identity) == {
        "empty/": "",
        "link": "-> empty",
        odd: store.identify(tmp_path / "copy" / odd).digest,
    }


def test_a_copy_is_writable_and_shares_nothing(store: HomeStore, tmp_path: Path) -> None:
    identity = put_folder(store, {"a": "1", "sub/b": "2" * 100_000})
    path = store.find(identity)
    assert path is not None
    store.copy(path, tmp_path / "deep/copy")
    originals = {f.stat().st_ino for f in path.rglob("*")}
    copies = list((tmp_path / "deep/copy").rglob("*"))
    assert not originals & {f.stat().st_ino for f in copies}
    assert all(f.stat().st_mode & 0o200 for f in copies)
    (tmp_path / "deep/copy/sub/b").write_text("changed")
    assert store.find(identity) == path


def test_a_copy_that_fails_leaves_nothing(
    store: HomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = put_folder(store, {"a": "1", "b": "2"})
    path = store.find(identity)
    assert path is not None

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(MachineError) as error:
            store.copy(path, tmp_path / "copy")
    assert error.value.problems[0].slug == "disk-full"
    assert not (tmp_path / "copy").exists()


def test_dropped_bytes_are_gone_and_their_record_stays(store: HomeStore, home: Path) -> None:
    for identity in (put_text(store, "1"), put_folder(store, {"a": "1"})):
        store.remember([record("k", o=identity)])
        store.drop(identity)
        assert store.find(identity) is None
        assert store.recall(["k"])["k"].outputs == {"o": identity}
        store.drop(identity)  # twice does no harm
    assert not list((home / "quarantine").iterdir())


def test_a_place_is_found_once_it_is_complete(store: HomeStore) -> None:
    from coopery.steps import Identity

    identity = Identity(digest="f" * 64, kind="place")
    folder = store.place(identity.digest)
    (folder / "half").write_text("")
    assert store.find(identity) is None
    assert list(store.place(identity.digest).iterdir()) == []
    (folder / "whole").write_text("")
    store.complete(identity.digest)
    store.remember([record("k", env=identity)])
    assert store.find(identity) == folder
    store.drop(identity)
    assert store.find(identity) is None and not folder.exists()


def test_scratch_of_the_dead_is_cleared_and_of_the_living_is_not(
    store: HomeStore, home: Path
) -> None:
    mine = store.scratch("fit@fold=0/x")
    (home / "scratch/dead").mkdir()
    (home / "scratch/dead/file").write_text("")
    (home / "scratch/dead.lock").write_text("")
    other = HomeStore(home)
    theirs = other.scratch("x")
    assert (home / "scratch/dead").is_dir()  # until what its tasks left is ended
    diagnosing.quick(home)
    assert mine.is_dir() and theirs.is_dir()
    assert not (home / "scratch/dead").exists()
    (theirs / "closed").mkdir()
    (theirs / "closed/file").write_text("")
    (theirs / "closed").chmod(0o500)
    other.close()
    assert not theirs.exists() and mine.is_dir()
