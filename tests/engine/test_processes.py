"""Programs that a step calls: seen through, logged, and gone when it is cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coopery.errors import StepError
from coopery.processes import call


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path: Path) -> None:
    log, nothing = tmp_path / "log", threading.Event()
    log.write_text("before\n")
    command = ["sh", "-c", 'echo out; echo "$A" >&2; pwd; exit 3']
    code = call(command, {**os.environ, "A": "b"}, log=log, cancelled=nothing, cwd=tmp_path)
    assert code == 3
    assert log.read_text() == f"before\nout\nb\n{tmp_path}\n"


def test_cancelling_ends_all_that_was_started(tmp_path: Path) -> None:
    """Also what ignores being asked, and what its own child started."""
    cancelled = threading.Event()
    script = "trap '' TERM; sh -c 'echo $$ > inner; sleep 60' & echo ready > ready; wait; sleep 60"
    timer = threading.Timer(0.5, cancelled.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(StepError) as caught:
        call(
            ["sh", "-c", script],
            os.environ,
            log=tmp_path / "log",
            cancelled=cancelled,
            cwd=tmp_path,
        )
    assert caught.value.problems[0].slug == "cancelled"
    assert time.monotonic() - began < 10
    assert (tmp_path / "ready").exists()
    inner = int((tmp_path / "inner").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{inner}").exists() and time.monotonic() < deadline:
        status = Path(f"/proc/{inner}/stat").read_text().rpartition(")")[2].split()[0]
        if status == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{inner}").exists()


def test_what_is_cancelled_already_is_not_started(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(StepError):
        call(["touch", str(tmp_path / "made")], {}, log=tmp_path / "log", cancelled=cancelled)
    assert not (tmp_path / "made").exists()


KILLED = """
import os, threading
from pathlib import Path
from coopery.processes import call
script = "trap '' TERM; setsid sh -c 'echo $$ > inner; sleep 60' & echo $$ > outer; wait; sleep 60"
call(["sh", "-c", script], os.environ, log=Path("log"), cancelled=threading.Event())
"""


def test_what_was_started_ends_with_who_started_it(tmp_path: Path) -> None:
    """Killed, without a word to anybody; also what left for a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=tmp_path)
    files = (tmp_path / "inner", tmp_path / "outer")
    _until(lambda: all(file.exists() and file.read_text().strip() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    process.kill()
    process.wait()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_exit_codes_and_variables_are_the_programs_own(tmp_path: Path) -> None:
    log, nothing = tmp_path / "log", threading.Event()
    assert call(["sh", "-c", "kill -KILL $$"], os.environ, log=log, cancelled=nothing) == 137
    assert call(["no-such-program"], os.environ, log=log, cancelled=nothing) == 127
    assert "no-such-program cannot be started" in log.read_text()
    log.unlink()
    given = {"PATH": os.environ["PATH"], "A": "b c"}
    assert call(["env"], given, log=log, cancelled=nothing) == 0
    assert set(log.read_text().splitlines()) == {f"PATH={given['PATH']}", "A=b c"}


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
