"""Killed at any point, shared by several processes: the store stays whole."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import StepError
from coopery.options import Settings
from coopery.steps import Identity
from coopery_store import diagnose, locks
from coopery_store.home import machine_errors
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text, record

CALLS = ("open", "rename", "replace", "fsync", "write", "unlink", "mkdir", "chmod", "rmdir")


def a_run(home: Path, project: Path, text: str) -> None:
    """Two results, remembered and delivered: what a run does to the store."""
    store = HomeStore(home)
    list(diagnose(home, Settings({}), mend=True, quick=True))  # as before each run
    file, folder = put_text(store, text), put_folder(store, {"a": text, "b": "="})
    place = store.place("environment")
    (place / "python").write_text(text)
    store.complete("environment")
    store.remember([record("k", file=file, folder=folder)])
    store.deliver(file, project / "file", overwrite=False)
    store.deliver(folder, project / "folder", overwrite=False)
    log = store.begin_run("r", {"state": "running"}, lambda force: None)
    log.append([{"text": text}])
    log.end({"state": "ended", "text": text})
    store.close()


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do `work` in a child that is killed before its n-th change; whether it was."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_a_run_killed_before_any_change_is_mended_by_the_next(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    a_run(home, project, "0")
    number, killed = 0, True
    while killed:
        number += 1
        killed = killed_at(number, partial(a_run, home, project, str(number)))
        a_run(home, project, str(number))
        store = HomeStore(home)
        found = store.recall(["k"])["k"].outputs
        for name in ("file", "folder"):
            assert store.find(found[name]) is not None
            assert store.identify(project / name) == found[name]
        assert (project / "file").read_text() == str(number)
        assert sorted(p.name for p in project.iterdir()) == ["file", "folder"]
        assert not list((home / "scratch").iterdir())
        store.rebuild()
        assert store.recall(["k"])["k"].outputs == found
        store.close()
    assert number > 40


def test_a_home_killed_while_it_is_made_is_made_by_the_next(tmp_path: Path) -> None:
    for number in (1, 2, 5, 100, 262, 263, 264, 265, 266, 267, 268, 269, 270, 272):
        home = tmp_path / f"h{number}"
        killed_at(number, lambda: HomeStore(home).close())  # noqa: B023
        a_run(home, tmp_path / f"p{number}", "x")


LOOP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from coopery_store.store import HomeStore
from store.conftest import put_text, record
store = HomeStore(Path(sys.argv[1]))
for number in range(100_000):
    name = f"{sys.argv[2]}-{number}"
    store.remember([record(name, o=put_text(store, name * 50))])
    print(name, flush=True)
"""


def looping(home: Path, name: str) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", LOOP, str(home), name, tests]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_two_killed_processes_had_remembered_is_there(home: Path) -> None:
    for turn in range(3):
        writers = [looping(home, f"{turn}{name}") for name in "ab"]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.05 + 0.07 * turn)
        done: list[str] = []
        for writer in writers:
            writer.kill()
            assert writer.stdout is not None
            done += [line.strip() for line in writer.stdout if line.endswith("\n")]
            writer.wait()
            writer.stdout.close()
        store = HomeStore(home)
        found = store.recall(done)
        assert done and sorted(found) == sorted(done)
        for name, kept in found.items():
            path = store.find(kept.outputs["o"])
            assert path is not None and path.read_text() == name * 50
        store.rebuild()
        assert len(store.recall(done)) == len(done)
        store.close()


def test_a_claim_is_held_by_one_at_a_time(home: Path, store: HomeStore) -> None:
    inside, most = 0, 0
    guard = threading.Lock()
    others = HomeStore(home)

    def work(mine: HomeStore) -> None:
        nonlocal inside, most
        for _ in range(20):
            with mine.claim("key"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(s,)) for s in (store, store, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with store.claim("key"), store.claim("another"):
        pass
    others.close()


def test_a_claim_dies_with_its_holder_and_waiting_can_be_cancelled(
    home: Path, store: HomeStore
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from coopery_store.store import HomeStore\n"
        "with HomeStore(Path(sys.argv[1])).claim('key'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(StepError, match="cancelled"), store.claim("key", cancelled):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with store.claim("key", threading.Event()):
        pass
    assert [p.name for p in (home / "locks").iterdir() if len(p.name) == 64] == []


def test_a_lock_on_a_file_that_its_last_holder_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    removals = [path]
    real = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if removals:
            removals.pop().unlink()  # the last holder lets go between our open and our lock
        real(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", late)
    held = locks.try_lock(path)
    assert held is not None
    assert os.fstat(held).st_ino == path.stat().st_ino
    assert locks.try_lock(path) is None
    os.close(held)


def test_threads_put_and_remember_side_by_side(store: HomeStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(30):
                same = put_folder(store, {"shared": str(number), "b": "="})
                own = put_text(store, f"{name}{number}")
                store.remember([record(f"{name}{number}", same=same, own=own)])
                assert store.find(same) and store.find(own)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(store.recall([f"{name}{n}" for name in "abcd" for n in range(30)])) == 120


def test_troubles_of_the_home_are_machine_errors(tmp_path: Path) -> None:
    from coopery.errors import MachineError

    for code, slug in ((28, "disk-full"), (122, "disk-full"), (30, "home-unusable")):
        with pytest.raises(MachineError) as error, machine_errors(tmp_path):
            raise OSError(code, os.strerror(code), "x")
        assert error.value.problems[0].slug == slug


def test_an_identity_of_bytes_nobody_has_is_not_found(store: HomeStore) -> None:
    assert store.find(Identity(digest="0" * 64, kind="file")) is None
    assert store.find(Identity(digest="0" * 64, kind="place")) is None
    assert store.listing(Identity(digest="0" * 64, kind="folder")) is None
