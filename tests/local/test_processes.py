"""Processes under supervision, started one after another in a thread."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from coopery.errors import StepError
from coopery.staging import GRACE
from coopery_local.processes import Ended, run_process

from .conftest import children, lives, marked, wait_until


def in_thread(
    folder: Path,
    *commands: list[str],
    cancelled: threading.Event | None = None,
    killed: threading.Event | None = None,
    memory: int | None = None,
) -> list[Ended | Exception]:
    """Run commands one after another in one new thread, as a scheduler would."""
    answers: list[Ended | Exception] = []

    def work() -> None:
        for command in commands:
            try:
                ended = run_process(
                    command,
                    program=command[0],
                    environ={"PATH": "/usr/bin:/bin"},
                    cwd=folder,
                    log=folder / "log",
                    folder=folder,
                    cancelled=cancelled or threading.Event(),
                    killed=killed,
                    memory=memory,
                )
            except Exception as error:
                answers.append(error)
            else:
                answers.append(ended)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answers


def test_a_thread_has_one_supervisor_that_ends_with_it(tmp_path: Path) -> None:
    before = children(os.getpid())
    answers = in_thread(tmp_path, *[["/bin/sh", "-c", "echo $PPID"]] * 3)
    assert [a.exit_code for a in answers if isinstance(a, Ended)] == [0, 0, 0]
    assert len(set((tmp_path / "log").read_text().split())) == 1
    assert children(os.getpid()) == before  # not even a zombie


def test_a_process_gets_nothing_but_its_log(tmp_path: Path) -> None:
    script = (
        "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> /\\1 /p'; grep ^Sig /proc/self/status"
    )
    in_thread(tmp_path, ["/bin/sh", "-c", script])
    lines = (tmp_path / "log").read_text().splitlines()
    open_files = dict(line.split() for line in lines if not line.startswith("Sig"))
    assert open_files.pop("0") == "/dev/null"
    assert open_files.pop("1").startswith("pipe:")  # of this script itself
    assert open_files.pop("2") == str(tmp_path / "log")
    assert len(open_files) == 1  # the folder that ls reads
    masks = dict(line.split() for line in lines if line.startswith("Sig"))
    libc_own = 0b11 << 31  # signals 32 and 33
    assert int(masks["SigBlk:"], 16) == int(masks["SigIgn:"], 16) & ~libc_own == 0


def test_how_processes_end(tmp_path: Path) -> None:
    arguments = b"\xff\xfe".decode("utf-8", "surrogateescape")
    killed, big, missing, strange, after = in_thread(
        tmp_path,
        ["/bin/sh", "-c", "kill -SEGV $$"],
        ["/bin/sh", "-c", ":", *["x" * 100_000] * 15],
        ["/no/such/program"],
        ["/bin/echo", "\0"],
        ["/bin/echo", arguments],
    )
    assert isinstance(killed, Ended)
    assert killed.exit_code == -signal.SIGSEGV
    assert isinstance(big, Ended)
    assert big.exit_code == 0
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(strange, OSError)
    assert isinstance(after, Ended)
    assert (tmp_path / "log").read_bytes() == b"\xff\xfe\n"


def test_a_fork_of_coopery_does_not_keep_its_tasks_alive(tmp_path: Path) -> None:
    marker = f"marker-{secrets.token_hex(8)}"
    sign = tmp_path / "sign"
    program = f"""
        import os, pathlib, sys, threading, time
        from coopery_local.processes import run_process
        folder = pathlib.Path({str(tmp_path)!r})
        command = ["/bin/sh", "-c", "touch sign; sleep 600; true {marker}"]
        threading.Thread(target=run_process, args=[command], kwargs=dict(
            program=command[0], environ={{}}, cwd=folder, log=folder / "log", folder=folder,
            cancelled=threading.Event(),
        )).start()
        while not (folder / "sign").exists():
            time.sleep(0.01)
        if os.fork() == 0:
            (folder / "forked").write_text(str(os.getpid()))
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    forked = tmp_path / "forked"
    wait_until(lambda: sign.exists() and forked.exists() and forked.read_text(), "the fork")
    try:
        assert marked(marker)
        process.kill()
        process.wait()
        wait_until(lambda: not [p for p in marked(marker) if p != int(forked.read_text())], "it")
        assert lives(int(forked.read_text()))
    finally:
        os.kill(int(forked.read_text()), signal.SIGKILL)


def test_peak_memory_is_the_task_s_own(tmp_path: Path) -> None:
    ballast = bytearray(b"x") * (200 << 20)
    own, big = in_thread(
        tmp_path,
        ["/bin/true"],
        [sys.executable, "-I", "-S", "-c", "x = bytearray(b'x') * (100 << 20)"],
    )
    assert len(ballast) == 200 << 20
    assert isinstance(own, Ended)
    assert isinstance(big, Ended)
    assert own.peak_memory < 50 << 20
    assert 100 << 20 < big.peak_memory < 150 << 20


def test_a_second_word_shortens_the_grace(tmp_path: Path) -> None:
    cancelled, killed = threading.Event(), threading.Event()
    cancelled.set()
    threading.Timer(0.5, killed.set).start()
    started = time.monotonic()
    script = "trap '' TERM; while :; do sleep 0.05; done"
    (answer,) = in_thread(tmp_path, ["/bin/sh", "-c", script], cancelled=cancelled, killed=killed)
    assert isinstance(answer, StepError)
    assert answer.problems[0].slug == "cancelled"
    assert 0.4 < time.monotonic() - started < GRACE


def test_what_cannot_be_killed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coopery_local import namespaces

    powerless = "supervisor.LINGER = 0.3; supervisor._signal = print; supervisor.main()"
    program = namespaces._PROGRAM.replace("{module}.{function}()", powerless)
    monkeypatch.setattr(namespaces, "_PROGRAM", program)
    (answer,) = in_thread(tmp_path, ["/bin/sh", "-c", "sleep 600 & echo $!"])
    left = (tmp_path / "log").read_text().strip()
    try:
        assert isinstance(answer, StepError)
        assert answer.problems[0].slug == "not-ended"
        assert left in answer.problems[0].message
    finally:
        os.kill(int(left), signal.SIGKILL)
