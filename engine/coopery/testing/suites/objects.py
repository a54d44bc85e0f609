"""The store's bytes: identities, damage, deliveries, places and scratch folders."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from coopery.errors import StepError
from coopery.steps import Identity, Store
from coopery.testing.suites.storing import (
    StoreFixtures,
    bytes_at,
    put_folder,
    put_text,
    record,
)


def slug(error: pytest.ExceptionInfo[StepError]) -> str:
    """Of the error that was raised."""
    return error.value.problems[0].slug


def make_tree(folder: Path) -> None:
    """A folder with all that one may hold."""
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "plain").write_text("plain")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "sub" / "link").symlink_to("../plain")
    (folder / "a b ä").write_text("")


def check_tree(folder: Path) -> None:
    """It is as `make_tree` makes it."""
    assert (folder / "sub" / "empty").is_dir()
    assert (folder / "plain").read_text() == "plain"
    assert os.access(folder / "tool", os.X_OK)
    assert not (folder / "plain").stat().st_mode & 0o111
    assert os.readlink(folder / "sub" / "link") == "../plain"  # noqa: PTH115 - the text matters
    assert (folder / "a b ä").read_text() == ""


def inodes(path: Path) -> set[int]:
    """Of all files there."""
    files = path.rglob("*") if path.is_dir() else [path]
    return {file.stat().st_ino for file in files if file.is_file()}


class ObjectsSuite(StoreFixtures):
    """Of the store suite: `put`, `find`, `drop`, `identify`, `deliver`, `place`, `scratch`, …."""

    # -- taking in and finding --------------------------------------------------------------------

    def test_what_is_put_is_moved_and_found(self, store: Store, home: Path) -> None:
        file = store.scratch("task") / "out"
        file.write_text("hello")
        identity = store.put(file)
        assert (identity.kind, identity.size) == ("file", 5)
        assert not file.exists()
        assert bytes_at(store, identity).read_text() == "hello"
        assert bytes_at(store, put_folder(store, {"a/b": "c"})).joinpath("a/b").read_text() == "c"

    def test_bytes_outlive_the_store(self, store: Store, home: Path) -> None:
        identity = put_text(store, "hello")
        store.remember([record("k", o=identity)])
        store.close()
        again = self.open_store(home)
        assert bytes_at(again, identity).read_text() == "hello"
        again.close()

    def test_equal_bytes_are_one_thing(self, store: Store, other: Store) -> None:
        assert put_text(store, "x") == put_text(store, "x") == put_text(other, "x")
        assert put_folder(store, {"a": "1"}) == put_folder(other, {"a": "1"})
        assert bytes_at(store, put_text(store, "x")).read_text() == "x"

    def test_content_exec_bit_and_names_make_the_identity(self, store: Store) -> None:
        found = [
            put_text(store, "x"),
            put_text(store, "y"),
            put_text(store, "x", mode=0o755),
            put_folder(store, {"a": "x"}),
            put_folder(store, {"b": "x"}),
            put_folder(store, {"a": "x", "b": ""}),
            put_folder(store, {}),
        ]
        assert len({identity.digest for identity in found}) == len(found)
        assert put_text(store, "x", mode=0o600) == found[0], "other permissions do not count"

    def test_what_a_folder_may_hold_is_kept(self, store: Store, tmp_path: Path) -> None:
        tree = store.scratch("task") / "tree"
        make_tree(tree)
        identity = store.put(tree)
        assert identity.kind == "folder"
        check_tree(bytes_at(store, identity))
        store.copy(bytes_at(store, identity), tmp_path / "copy")
        check_tree(tmp_path / "copy")
        assert store.identify(tmp_path / "copy") == identity

    @pytest.mark.parametrize("inside", [False, True])
    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (os.mkfifo, "special-file"),
            (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "special-file"),
            (lambda path: path.symlink_to("/etc/passwd"), "link-outside"),
            (lambda path: path.symlink_to("../../up"), "link-outside"),
        ],
        ids=["fifo", "socket", "absolute link", "link upwards"],
    )
    def test_what_an_output_may_not_hold_is_refused(
        self,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        make: Callable[[Path], object],
        expected: str,
        inside: bool,
    ) -> None:
        folder = store.scratch("task") / "out"
        folder.mkdir()
        monkeypatch.chdir(folder)  # the address of a socket is short
        make(Path("x"))
        with pytest.raises(StepError) as error:
            store.put(folder if inside else folder / "x")
        assert slug(error) == expected

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_damage_is_a_miss_and_can_be_made_good(self, store: Store, kind: str) -> None:
        def put() -> Identity:
            return put_text(store, "good") if kind == "file" else put_folder(store, {"a": "good"})

        identity = put()
        store.remember([record("k", o=identity)])
        path = bytes_at(store, identity)
        file = path if kind == "file" else path / "a"
        file.chmod(0o644)
        file.write_text("evil")  # as long as what was there
        os.utime(file, (1, 1))
        assert store.find(identity) is None
        assert put() == identity
        path = bytes_at(store, identity)
        assert (path if kind == "file" else path / "a").read_text() == "good"

    def test_bytes_nobody_has_are_not_found(self, store: Store) -> None:
        for kind in ("file", "folder", "place"):
            assert store.find(Identity(digest="0" * 64, kind=kind)) is None
        assert store.listing(Identity(digest="0" * 64, kind="folder")) is None

    def test_dropped_bytes_are_gone_and_their_record_stays(self, store: Store) -> None:
        identity = put_text(store, "x")
        store.remember([record("k", o=identity)])
        assert store.drop(identity) is True
        assert store.find(identity) is None
        assert list(store.recall(["k"])) == ["k"]
        store.drop(identity)
        assert put_text(store, "x") == identity
        assert store.find(identity) is not None

    # -- the project's files ----------------------------------------------------------------------

    def test_a_file_of_a_project_has_the_identity_of_an_equal_output(
        self, store: Store, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x")
        make_tree(tmp_path / "tree")
        tree = store.scratch("task") / "tree"
        make_tree(tree)
        assert store.identify(tmp_path / "file") == put_text(store, "x")
        assert store.identify(tmp_path / "tree") == store.put(tree)

    def test_a_changed_file_has_another_identity(self, store: Store, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("one")
        before = store.identify(file)
        os.utime(file, (1, 1))
        assert store.identify(file) == before
        file.write_text("two")
        os.utime(file, (1, 1))  # same size, same time: the kernel's own time tells
        assert store.identify(file) != before
        (tmp_path / "beside").write_text("one")
        (tmp_path / "beside").replace(file)
        assert store.identify(file) == before

    def test_many_are_identified_at_once(self, store: Store, tmp_path: Path) -> None:
        paths = [tmp_path / str(number) for number in range(20)]
        for path in paths:
            path.write_text(path.name)
        found = store.identify_many([*paths, tmp_path / "none"])
        assert found == {path: store.identify(path) for path in paths}

    def test_chosen_files_are_a_folder_of_their_own(self, store: Store, tmp_path: Path) -> None:
        make_tree(tmp_path / "tree")
        chosen = store.identify_set(tmp_path / "tree", ["plain", "tool"])
        (tmp_path / "few").mkdir()
        for name in ("plain", "tool"):
            store.copy(tmp_path / "tree" / name, tmp_path / "few" / name)
        assert chosen == store.identify(tmp_path / "few")
        assert chosen != store.identify(tmp_path / "tree")

    def test_a_listing_tells_which_file_differs(self, store: Store) -> None:
        one = store.listing(put_folder(store, {"a": "1", "b/c": "2"}))
        two = store.listing(put_folder(store, {"a": "1", "b/c": "3"}))
        if one is None or two is None:
            pytest.skip("this store keeps no listings")
        assert one["a"] == two["a"] and one["b/c"] != two["b/c"]

    # -- deliveries -------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_a_delivery_is_whole_replaced_and_recognised(
        self, store: Store, home: Path, tmp_path: Path, kind: str
    ) -> None:
        destination = tmp_path / "build" / "deep" / "out"
        assert store.deliverable([destination]) == {destination: "absent"}
        for text in ("1", "2", "2", "1"):
            identity = self._put(store, kind, text)
            store.deliver(identity, destination, overwrite=False)
            assert store.deliverable([destination]) == {destination: identity.digest}
            assert store.identify(destination) == identity
            assert [path.name for path in destination.parent.iterdir()] == ["out"]
        reopened = self.open_store(home)
        assert reopened.deliverable([destination]) == {destination: identity.digest}
        reopened.close()

    @pytest.mark.parametrize("kind", ["file", "folder"])
    @pytest.mark.parametrize("mine", ["file", "folder", "link", "edited"])
    def test_what_others_wrote_is_not_overwritten_unless_told(
        self, store: Store, tmp_path: Path, kind: str, mine: str
    ) -> None:
        destination, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
        elsewhere.write_text("mine")
        match mine:
            case "file":
                destination.write_text("mine")
            case "folder":
                destination.mkdir()
                (destination / "mine").write_text("mine")
            case "link":
                destination.symlink_to("elsewhere")
            case _:
                store.deliver(self._put(store, kind, "0"), destination, overwrite=False)
                (destination / "a" if kind == "folder" else destination).write_text("mine")
        identity = self._put(store, kind, "1")
        assert store.deliverable([destination]) == {destination: "edited"}
        with pytest.raises(StepError) as error:
            store.deliver(identity, destination, overwrite=False)
        assert slug(error) == "output-edited"
        assert store.deliverable([destination]) == {destination: "edited"}
        store.deliver(identity, destination, overwrite=True)
        assert store.identify(destination) == identity and not destination.is_symlink()
        assert elsewhere.read_text() == "mine"

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_nothing_that_a_user_can_write_is_shared(
        self, store: Store, tmp_path: Path, kind: str
    ) -> None:
        identity = self._put(store, kind, "x")
        store.deliver(identity, tmp_path / "delivered", overwrite=False)
        store.copy(bytes_at(store, identity), tmp_path / "copied")
        ours = inodes(bytes_at(store, identity))
        for name in ("delivered", "copied"):
            assert not ours & inodes(tmp_path / name)
            file = tmp_path / name / "a" if kind == "folder" else tmp_path / name
            file.write_text("edited")
        found = bytes_at(store, identity)
        assert (found / "a" if kind == "folder" else found).read_text() == "x"

    def _put(self, store: Store, kind: str, text: str) -> Identity:
        return put_text(store, text) if kind == "file" else put_folder(store, {"a": text, "b": "="})

    # -- places and scratch -----------------------------------------------------------------------

    def test_a_place_is_found_once_it_is_complete(self, store: Store, other: Store) -> None:
        identity = Identity(digest="k" * 64, kind="place")
        with store.claim(identity.digest):
            folder = store.place(identity.digest)
            assert list(folder.iterdir()) == []
            (folder / "half").write_text("x")
            assert store.find(identity) is None and other.find(identity) is None
            store.complete(identity.digest)
        assert bytes_at(store, identity) == folder == bytes_at(other, identity)
        store.remember([record(identity.digest, image=identity)])
        with store.claim(identity.digest):
            assert list(store.place(identity.digest).iterdir()) == []
            assert other.find(identity) is None

    def test_a_place_has_the_same_address_each_time(self, store: Store, other: Store) -> None:
        assert store.place("k" * 64) == other.place("k" * 64) != store.place("l" * 64)

    @pytest.mark.parametrize("name", ["fit", "fit@fold=0", "image:a/b", "../up", "ä b" * 100])
    def test_scratch_is_new_and_empty(self, store: Store, home: Path, name: str) -> None:
        one, two = store.scratch(name), store.scratch(name)
        assert one != two and not list(one.iterdir()) and not list(two.iterdir())
        assert one.resolve().is_relative_to(home.resolve())
