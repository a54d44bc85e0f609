"""What a program alone is told: it reads it once, and nothing else can."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from coopery import masking
from coopery.confiding import CONFIDED, confided
from coopery.processes import call

READS = "import sys; print(open(sys.argv[1]).read())"
READS_TWICE = """
import os, subprocess, sys
text = open(sys.argv[1]).read()
again = "import os, sys; print(repr(open(sys.argv[1]).read()), os.environ, sys.argv)"
told = subprocess.run([sys.executable, "-c", again, sys.argv[1]], close_fds=False,
                      capture_output=True, text=True)
print(len(text), text in told.stdout, told.stdout.split()[0])
"""


def run(tmp_path: Path, script: str, told: str) -> str:
    log = tmp_path / "log"
    command = [sys.executable, "-c", script, CONFIDED]
    assert call(command, os.environ, log=log, cancelled=threading.Event(), told=told) == 0
    return log.read_text()


def test_a_program_reads_it_and_its_children_do_not(tmp_path: Path) -> None:
    assert run(tmp_path, READS, "for you alone") == "for you alone\n"
    (tmp_path / "log").unlink()
    assert run(tmp_path, READS_TWICE, "for you alone") == "13 False ''\n"


def test_more_than_a_pipe_holds(tmp_path: Path) -> None:
    assert run(tmp_path, READS_TWICE, "x" * 300_000) == "300000 False ''\n"


def test_a_program_may_leave_it_unread(tmp_path: Path) -> None:
    before = threading.active_count()
    assert run(tmp_path, "print('done')", "x" * 300_000) == "done\n"
    for thread in threading.enumerate():
        if thread.name == "confiding":
            thread.join(10)
    assert threading.active_count() <= before


def test_a_command_that_asks_for_nothing_stays_as_it_is() -> None:
    with confided(["a", "b"], "secret") as (command, handed):
        assert (command, handed) == (["a", "b"], ())


def test_all_that_is_said_arrives_where_a_secret_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is said long after the start, and then without the secret."""
    monkeypatch.setattr(masking, "_forms", set())
    monkeypatch.setattr(masking, "_known", None)
    masking.keep_out("t0ken-of-a-test")
    script = "import time; time.sleep(0.5); print('first t0ken-of-a-test'); print('x' * 200000)"
    assert run(tmp_path, script, "") == f"first ****\n{'x' * 200000}\n"
