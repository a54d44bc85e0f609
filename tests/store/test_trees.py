"""Identity is contents, exec bits and relative names, and nothing else."""

# Names are bytes here, which pathlib does not know.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH116, PTH123

from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coopery.errors import StepError
from coopery.trees import file_digest, folder_digest, scan

names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
trees = st.dictionaries(names, st.tuples(st.binary(max_size=40), st.booleans()), max_size=6)


def build(top: bytes, tree: dict[bytes, tuple[bytes, bool]], umask: int = 0o022) -> None:
    previous = os.umask(umask)
    try:
        os.mkdir(top)
        for name, (content, executable) in tree.items():
            mode = 0o777 if executable else 0o666
            descriptor = os.open(top + b"/" + name, os.O_CREAT | os.O_WRONLY, mode)
            os.write(descriptor, content)
            os.close(descriptor)
    finally:
        os.umask(previous)


@settings(max_examples=60, deadline=None)
@given(one=trees, other=trees)
def test_folders_are_equal_exactly_when_their_contents_are(
    one: dict[bytes, tuple[bytes, bool]], other: dict[bytes, tuple[bytes, bool]]
) -> None:
    with TemporaryDirectory() as folder:
        a, b = os.fsencode(folder) + b"/a", os.fsencode(folder) + b"/b"
        build(a, one)
        build(b, other, umask=0o077)
        assert (folder_digest(a)[0] == folder_digest(b)[0]) == (one == other)


@settings(max_examples=40, deadline=None)
@given(tree=trees.filter(bool), data=st.data())
def test_any_change_of_name_mode_or_content_shows(
    tree: dict[bytes, tuple[bytes, bool]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        top = os.fsencode(folder) + b"/a"
        build(top, tree)
        before = folder_digest(top)[0]
        chosen = top + b"/" + data.draw(st.sampled_from(sorted(tree)))
        match data.draw(st.sampled_from(["rename", "mode", "content", "remove"])):
            case "rename":
                os.rename(chosen, chosen + b"+new")
            case "mode":
                os.chmod(chosen, os.stat(chosen).st_mode ^ 0o100)
            case "content":
                with open(chosen, "ab") as file:
                    file.write(b"x")
            case _:
                os.unlink(chosen)
        assert folder_digest(top)[0] != before


def test_times_owners_and_other_permissions_do_not_show(tmp_path: Path) -> None:
    build(os.fsencode(tmp_path / "a"), {b"f": (b"1", False), b"g": (b"2", True)})
    before = folder_digest(tmp_path / "a")
    os.utime(tmp_path / "a/f", (1, 1))
    (tmp_path / "a/f").chmod(0o600)
    (tmp_path / "a/g").chmod(0o700)
    (tmp_path / "a").chmod(0o700)
    assert folder_digest(tmp_path / "a") == before


def test_empty_folders_and_link_targets_show(tmp_path: Path) -> None:
    seen = set()
    (tmp_path / "a").mkdir()
    seen.add(folder_digest(tmp_path / "a")[0])
    (tmp_path / "a/empty").mkdir()
    seen.add(folder_digest(tmp_path / "a")[0])
    (tmp_path / "a/link").symlink_to("empty")
    seen.add(folder_digest(tmp_path / "a")[0])
    (tmp_path / "a/link").unlink()
    (tmp_path / "a/link").symlink_to("./empty")
    seen.add(folder_digest(tmp_path / "a")[0])
    (tmp_path / "a/link").unlink()
    (tmp_path / "a/link").write_text("empty")
    seen.add(folder_digest(tmp_path / "a")[0])
    assert len(seen) == 5


def test_a_file_and_a_folder_never_share_an_identity(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert file_digest(tmp_path / "file")[0] != folder_digest(tmp_path / "folder")[0]


def test_large_and_small_files_are_read_alike(tmp_path: Path) -> None:
    for size in (0, 1, 65535, 65536, 65537, 1 << 18, (1 << 20) + 3):
        content = os.urandom(size)
        (tmp_path / "a").write_bytes(content)
        (tmp_path / "b").write_bytes(content)
        assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
        assert file_digest(tmp_path / "a")[1] == size
        if size:
            (tmp_path / "b").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert file_digest(tmp_path / "a") != file_digest(tmp_path / "b")


def slug(error: pytest.ExceptionInfo[StepError]) -> str:
    return error.value.problems[0].slug


@pytest.mark.parametrize(
    "target",
    ["/etc", "../x", "s/../x", "inner/up/../../x", "inner/../..", "a/b/c/root/../x"],
)
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    top = tmp_path / "a"
    (top / "inner").mkdir(parents=True)
    (top / "inner/up").symlink_to("..")
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/b/c/root").symlink_to("../../..")
    (top / "s").symlink_to("inner/up")
    (top / "bad").symlink_to(target)
    with pytest.raises(StepError) as error:
        scan(top)
    assert slug(error) == "link-outside"
    assert str(top / "bad") in str(error.value)


@pytest.mark.parametrize("target", ["f", "./inner/../f", "inner", "nowhere", "bad"])
def test_links_that_stay_inside_are_kept(tmp_path: Path, target: str) -> None:
    top = tmp_path / "a"
    (top / "inner").mkdir(parents=True)
    (top / "bad").symlink_to(target)
    assert [entry.kind for entry in scan(top)] == ["l", "d"]


def test_special_files_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StepError, match="pipe is a FIFO") as error:
        scan(tmp_path)
    assert slug(error) == "special-file"
    with pytest.raises(StepError, match="FIFO"):
        file_digest(tmp_path / "pipe")  # and does not wait for a writer
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(StepError, match="s is a socket"):
            scan(tmp_path)
