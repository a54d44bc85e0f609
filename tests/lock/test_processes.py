"""Resolutions side by side, their time limit, and what an interrupt leaves: nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import MachineError
from coopery_lock import locking

# A build backend that says it is there, and waits until it may go on.
MEET = """\
import os, pathlib, time
folder = pathlib.Path({folder!r})
(folder / {name!r}).touch()
ends = time.monotonic() + 30
while len(list(folder.iterdir())) < {number} and time.monotonic() < ends:
    time.sleep(0.05)
if len(list(folder.iterdir())) < {number}:
    raise SystemExit("alone")
def prepare_metadata_for_build_wheel(target, settings=None):
    info = pathlib.Path(target) / "{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    return info.name
build_wheel = build_sdist = prepare_metadata_for_build_wheel
"""
HANG = "import os, time; open({mark!r}, 'w').write(str(os.getpid())); time.sleep(60)\n"


def test_distinct_sets_are_resolved_side_by_side(
    bench: Any, sdist: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    # As many processes as two cores allow, whatever this machine has.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    folder = tmp_path / "meeting"
    folder.mkdir()
    for name in ("one", "two"):
        sdist(bench.index, name, "1.0", MEET.format(folder=str(folder), name=name, number=2))
        bench.image(name, name=name)
    assert {name: len(pins) for name, pins in bench.lock().pins.items()} == {"one": 1, "two": 1}


def test_equal_sets_are_resolved_once_and_told_of(bench: Any) -> None:
    bench.image("beta", "alpha")
    bench.image("alpha", "beta", name="b")
    bench.image("gamma", name="c")
    bench.lock()
    assert bench.told[:2] == ["lock     a, b: 2 requirements", "lock     c: 1 requirement"]
    ended = sorted(line.split(" in ")[0] for line in bench.told[2:])
    assert ended == ["locked   a, b: 2 packages", "locked   c: 2 packages"]
    bench.lock()
    assert bench.told == []


def test_an_extra_that_is_not_there_is_a_warning(bench: Any) -> None:
    bench.image("alpha[odd]")
    bench.lock()
    (warning,) = [line for line in bench.told if line.startswith("warning")]
    assert "odd" in warning and "'a'" in warning
    bench.image("beta")
    bench.lock()
    assert not [line for line in bench.told if line.startswith("warning")]


def test_the_time_limit_of_several_sets(bench: Any, sdist: Any) -> None:
    sdist(bench.index, "slow", "1.0", "import time; time.sleep(60)\n")
    bench.image("slow")
    bench.image("slow", "alpha", name="b")
    began = time.monotonic()
    with pytest.raises(MachineError) as caught:
        bench.lock(limit=3)
    assert [p.slug for p in caught.value.problems] == ["resolution-timeout"] * 2
    assert time.monotonic() - began < 20
    assert not bench.recipe.lock_file.exists()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an index that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple/"


def command(root: Path, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "coopery", "lock", *arguments],
        cwd=root,
        env={**os.environ, "COOPERY_HOME": str(root.parent / "coopery-home"), **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def recipe(root: Path, *packages: str) -> None:
    text = f'[image.a]\npackages = {list(packages)}\n[task.t]\nimage = "a"\ncommand = ["true"]\n'
    (root / "recipe.toml").write_text(text)


def test_an_index_that_never_answers(bench: Any, silent: str) -> None:
    recipe(bench.root, "alpha")
    changes = {"PIP_INDEX_URL": silent, "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
    began = time.monotonic()
    process = command(bench.root, "--resolve-timeout", "2", **changes)
    _, story = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == 3, story
    assert "[resolution-timeout]" in story
    assert "lock     a: 1 requirement" in story
    assert [p.name for p in bench.root.iterdir()] == ["recipe.toml"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(until: Callable[[], bool], seconds: float = 30) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if until():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_and_no_file(
    bench: Any, sdist: Any, tmp_path: Path, number: signal.Signals
) -> None:
    mark = tmp_path / "pid"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sdist(bench.index, "slow", "1.0", HANG.format(mark=str(mark)))
    recipe(bench.root, "alpha")
    first = command(bench.root)
    assert first.wait(60) == 0, first.communicate()
    before = (bench.root / "recipe.lock").read_text()
    recipe(bench.root, "alpha", "slow")
    process = command(bench.root, TMPDIR=str(scratch))
    assert wait(lambda: mark.exists() and mark.read_text() != "")
    process.send_signal(number)
    _, story = process.communicate(timeout=30)
    assert process.returncode == 130, story
    assert "Traceback" not in story
    assert wait(lambda: not alive(int(mark.read_text())), 5)
    assert not list(scratch.glob("coopery-lock-*"))
    assert sorted(p.name for p in bench.root.iterdir()) == ["recipe.lock", "recipe.toml"]
    assert (bench.root / "recipe.lock").read_text() == before


def test_few_at_a_time(bench: Any, monkeypatch: Any) -> None:
    from coopery_lock import solver

    running, most = [0], [0]
    real = solver.solve

    def count(*arguments: Any, **named: Any) -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        try:
            return real(*arguments, **named)
        finally:
            running[0] -= 1

    monkeypatch.setattr(solver, "solve", count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    for number in range(locking.AT_A_TIME + 4):
        bench.image(f"alpha!={number + 10}", name=f"image{number}")
    bench.lock()
    assert 1 < most[0] <= locking.AT_A_TIME


def test_nothing_of_ours_stays_in_the_temporary_folder(
    bench: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    bench.image("beta")
    bench.lock()
    assert list(scratch.iterdir()) == []
