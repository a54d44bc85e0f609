"""Control groups of both versions, as trees of files: no machine is needed that has the other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coopery_docker import cgroups
from coopery_docker.client import Engine
from coopery_docker.memory import Measured, Peak

IDENT = "1234567890abcdef" * 4
FILES = {
    1: ("memory.max_usage_in_bytes", "memory.usage_in_bytes", "total_rss 5\ntotal_shmem 6\nrss 1"),
    2: ("memory.peak", "memory.current", "anon 5\nfile 70\nshmem 6\n"),
}
PLACES = {
    1: ("docker/{}", "system.slice/docker-{}.scope", "libpod_parent/libpod-{}"),
    2: ("docker/{}", "system.slice/docker-{}.scope", "machine.slice/libpod-{}.scope"),
}

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Make a group with counters in a tree of a version; its folder."""
    top = tmp_path / "cgroup"
    monkeypatch.setattr(cgroups, "TOP", top)

    def make(version: int, path: str, *, peak: int | None = 100, now: int = 40) -> Path:
        group = top / ("" if version == 2 else "memory") / path
        group.mkdir(parents=True)
        if version == 2:
            (top / "cgroup.controllers").write_text("cpu memory\n")
        names = FILES[version]
        if peak is not None:
            (group / names[0]).write_text(f"{peak}\n")
        (group / names[1]).write_text(f"{now}\n")
        (group / "memory.stat").write_text(names[2])
        (group / "cgroup.procs").write_text("")
        return group

    return make


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("which", range(3))
def test_a_container_is_found_where_engines_put_it(tree: Tree, version: int, which: int) -> None:
    assert cgroups.find(IDENT) is None
    tree(version, PLACES[version][which].format(IDENT))
    group = cgroups.find(IDENT)
    assert group is not None and group.version == version
    assert (group.peak(), group.taken(), group.keeps_peak) == (100, 11, True)


def test_a_kernel_that_keeps_no_peak(tree: Tree) -> None:
    """As version 2 before Linux 5.19: what there is now is what is known."""
    tree(2, f"docker/{IDENT}", peak=None)
    group = cgroups.find(IDENT)
    assert group is not None and (group.peak(), group.keeps_peak) == (40, False)


def test_what_is_gone_has_nothing(tree: Tree) -> None:
    group = cgroups.Group(folder=tree(1, "x") / "gone", version=1)
    assert (group.peak(), group.taken(), group.processes(), group.keeps_peak) == (
        None,
        0,
        [],
        False,
    )


def test_processes_may_be_below(tree: Tree) -> None:
    """As those of crun, or of what divides its container itself."""
    folder = tree(2, f"docker/{IDENT}")
    below = tree(2, f"docker/{IDENT}/container")
    (below / "cgroup.procs").write_text("7\n8\n")
    assert cgroups.Group(folder=folder, version=2).processes() == [7, 8]


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_is_found_by_its_process(
    tree: Tree, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/user.slice/user@7.service/docker-{IDENT}.scope"
    tree(version, path.strip("/"))
    of = {1: f"9:name=systemd:/x\n4:memory:{path}\n0::/other\n", 2: f"0::{path}/init\n"}
    monkeypatch.setattr(cgroups, "PROC", tmp_path)
    (tmp_path / "77").mkdir()
    (tmp_path / "77/cgroup").write_text(of[version])
    group = cgroups.of_process(77, IDENT)
    assert group is not None and group.peak() == 100
    assert cgroups.of_process(78, IDENT) is None, "there is no such process"
    assert cgroups.of_process(77, "f" * 64) is None, "somebody else has its number"


def measured(
    ident: str = IDENT, own: str | None = None, *, meanwhile: Callable[[], object]
) -> Measured:
    """What is measured of a container that seems to run while something is done."""
    engine = cast(Engine, SimpleNamespace(is_local=True, api=None))
    peak = Peak(engine, ident, lambda: False, own)
    peak.begin()
    try:
        meanwhile()
    finally:
        found = peak.end()
    return found


@pytest.mark.parametrize(("version", "peak"), [(1, 100), (2, 100), (2, None)])
def test_the_last_look_is_after_the_last_process(
    tree: Tree, version: int, peak: int | None
) -> None:
    """Whose end the kernel tells; complete it is only where the kernel keeps the most by itself."""
    group = tree(version, f"docker/{IDENT}", peak=peak)
    counter = group / FILES[version][0 if peak is not None else 1]

    def live() -> None:
        with subprocess.Popen(["sleep", "1.6"]) as first, subprocess.Popen(["sleep", "2"]) as last:
            (group / "cgroup.procs").write_text(f"{first.pid}\n{last.pid}\n")
            time.sleep(1.4)
            counter.write_text("900\n")
            first.wait()
            (group / "cgroup.procs").write_text(f"{last.pid}\n")
            last.wait()
        (group / "cgroup.procs").write_text("")
        time.sleep(0.1)
        counter.write_text("9999\n")  # after that, nobody looks any more

    found = measured(meanwhile=live)
    assert found == Measured(peak=900, complete=peak is not None, taken=11)


def test_a_group_that_is_gone_too_early_is_not_complete(tree: Tree) -> None:
    group = tree(2, f"docker/{IDENT}")

    def live() -> None:
        with subprocess.Popen(["sleep", "0.5"]) as process:
            (group / "cgroup.procs").write_text(f"{process.pid}\n")
            time.sleep(0.2)
            group.rename(group.with_name("gone"))

    assert measured(meanwhile=live) == Measured(peak=100, complete=False, taken=11)


@pytest.mark.parametrize("version", [1, 2])
def test_the_group_around_it_is_read_at_the_end(tree: Tree, version: int) -> None:
    """Even if the container's own was never seen."""
    tree(version, "coopery_x", peak=5000)
    found = measured(own="coopery_x", meanwhile=lambda: time.sleep(0.05))
    assert found == Measured(peak=5000, complete=True, taken=None)


@pytest.mark.parametrize("peak", [0, None])
def test_a_group_around_it_that_counts_nothing(tree: Tree, peak: int | None) -> None:
    """The engine put the container elsewhere, or the kernel keeps no peak."""
    tree(2, "coopery_x", peak=peak, now=0)
    tree(2, f"coopery_x/{IDENT}", peak=peak, now=60)
    found = measured(own="coopery_x", meanwhile=lambda: time.sleep(0.1))
    assert found == Measured(peak=60 if peak is None else None, complete=False, taken=11)


def can(**changes: Any) -> Engine:
    """An engine that has groups of one's own, unless the changes tell otherwise."""
    info = {"CgroupDriver": "cgroupfs", "Name": os.uname().nodename}
    told = {"is_local": True, "is_podman": False, "is_rootless": False, "info": info, **changes}
    return cast(Engine, SimpleNamespace(**told))


@pytest.mark.parametrize("version", [1, 2])
def test_groups_are_made_for_runs_and_found_again(tree: Tree, version: int, tmp_path: Path) -> None:
    tree(version, "other")
    run = "20261122T120000000-abcd"
    name = cgroups.make_own(can(), tmp_path, run)
    assert name is not None and cgroups.is_of(name, tmp_path, run)
    assert not cgroups.is_of(name, tmp_path, "20261122T120000000-abce")
    (cgroups.own(name).folder / IDENT).mkdir()  # as it may be left in there
    if version == 1:
        (cgroups.TOP / "cpu" / name / IDENT).mkdir(parents=True)  # the engine does that
    assert cgroups.left(tmp_path) == cgroups.left(tmp_path, run) == [name]
    assert cgroups.left(tmp_path, "another") == cgroups.left(tmp_path / "elsewhere") == []
    assert cgroups.remove(name) and cgroups.left(tmp_path) == []
    assert not list(cgroups.TOP.rglob(name))


def test_what_is_in_use_is_not_removed(tree: Tree, tmp_path: Path) -> None:
    tree(2, "other")
    name = cgroups.make_own(can(), tmp_path, "r")
    assert name is not None
    (cgroups.own(name).folder / "file").touch()  # files here are what processes are there
    assert not cgroups.remove(name) and cgroups.left(tmp_path) == [name]


@pytest.mark.parametrize(
    "changes",
    [
        {"is_local": False},
        {"is_podman": True},
        {"is_rootless": True},
        {"info": {"CgroupDriver": "systemd", "Name": os.uname().nodename}},
        {"info": {"CgroupDriver": "cgroupfs", "Name": "another"}},
    ],
)
def test_where_there_are_no_own_groups(tree: Tree, tmp_path: Path, changes: dict[str, Any]) -> None:
    tree(2, "other")
    assert cgroups.make_own(can(**changes), tmp_path, "r") is None


def test_without_the_right_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "TOP", tmp_path / "nowhere")
    assert cgroups.make_own(can(), tmp_path, "r") is None
