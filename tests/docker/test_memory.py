"""The peak of a container's memory: known however short it lives, and told as what it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project
from coopery_docker import cgroups
from coopery_docker.client import Engine, connect
from coopery_docker.containers import Job, run_container
from coopery_docker.memory import Measured
from coopery_docker.notes import home_id

MIB = 1 << 20
HOLDS = "x = bytearray(80 << 20)"
HEAD = '[defaults]\nimage = "i"\n[image.i]\n'

MONITORED = """
from dataclasses import replace

from coopery.hooks import hookimpl
from coopery.tasks import TaskWork
from coopery_docker.tasks import run_task


@hookimpl(tryfirst=True)
def perform(step, workspace):
    if isinstance(step.work, TaskWork):
        return run_task(replace(step.work, monitored=True), workspace)
"""


def job(home: Path, code: str, *, monitored: bool = False, memory: int = 0) -> Job:
    """A container that runs Python code, in the image that tests have."""
    host: dict[str, Any] = {"NetworkMode": "none", "Init": True, "LogConfig": {"Type": "none"}}
    if memory:
        host |= {"Memory": memory, "MemorySwap": memory}
    body = {
        "Image": "python:3.11-slim",
        "Entrypoint": ["python3", "-c", code],
        "User": f"{os.geteuid()}:{os.getegid()}",
        "HostConfig": host,
    }
    return Job(home=home, run="test", name="a", body=body, write=print, monitored=monitored)


@pytest.fixture
def own_groups(tmp_path: Path, engine: Any) -> Path:
    """The home of a test; skipped where no control group can be made for its containers."""
    name = cgroups.make_own(connect(), tmp_path, "probe")
    if name is None:
        pytest.skip("containers get no control groups of their own here")
    assert cgroups.remove(name) and not cgroups.left(tmp_path)
    return tmp_path


@pytest.fixture
def busy() -> Iterator[None]:
    """Another thread computes all the time, so that nobody here is ever quick."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    yield
    over.set()
    thread.join()


def test_no_peak_is_missed_in_a_group_of_its_own(own_groups: Path, busy: None) -> None:
    """Twenty that end at once, while this process is too busy to look in time."""
    for _ in range(20):
        memory = run_container(connect(), job(own_groups, HOLDS, monitored=True)).memory
        assert memory.complete and memory.peak is not None
        assert 80 * MIB <= memory.peak < 120 * MIB
    assert cgroups.left(own_groups) == []


def test_what_is_called_complete_is(tmp_path: Path, engine: Any) -> None:
    """Without such a group the last look may come too late, and then that is told."""
    found = [run_container(connect(), job(tmp_path, HOLDS)).memory for _ in range(10)]
    assert all(memory.peak is not None for memory in found)
    for memory in found:
        assert not memory.complete or 80 * MIB <= (memory.peak or 0) < 120 * MIB
        assert 0 < (memory.taken or 0) <= (memory.peak or 0)


def test_copies_of_files_count_for_the_peak_alone(own_groups: Path) -> None:
    """A peak above a limit does not say that the limit is too low."""
    code = """
import time
with open("/tmp/x", "wb") as file:
    for _ in range(100):
        file.write(bytes(1 << 20))
time.sleep(0.3)
"""
    memory = run_container(connect(), job(own_groups, code, monitored=True)).memory
    assert memory.complete and (memory.peak or 0) > 100 * MIB
    assert 1 * MIB < (memory.taken or 0) < 30 * MIB
    limited = job(own_groups, code, monitored=True, memory=40 * MIB)
    ended = run_container(connect(), limited)
    assert ended.exit_code == 0 and ended.memory.complete
    assert 30 * MIB < (ended.memory.peak or 0) < 41 * MIB


def test_shared_memory_is_taken(tmp_path: Path, engine: Any) -> None:
    code = "f = open('/dev/shm/x', 'wb'); f.write(bytes(40 << 20)); f.flush()\n"
    code += "import time; time.sleep(0.5)"
    assert (run_container(connect(), job(tmp_path, code)).memory.taken or 0) > 40 * MIB


@pytest.mark.parametrize("code", ["import time; time.sleep(1.5)", "pass"])
def test_an_engine_that_is_elsewhere_is_asked(
    tmp_path: Path, engine: Any, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells what it saw, never that it saw all; of what ended before, nothing."""
    monkeypatch.setattr(Engine, "is_local", False)
    memory = run_container(connect(), job(tmp_path, code, monitored=True)).memory
    assert not memory.complete
    if code == "pass":
        assert (memory.peak is None) == (memory.taken is None)
    else:
        assert 2 * MIB < (memory.peak or 0) < 60 * MIB and 0 < (memory.taken or 0) < 30 * MIB


def test_a_place_that_the_engine_was_told_is_found(tmp_path: Path, engine: Any) -> None:
    """Its groups need not be where engines put them by themselves."""
    if connect().is_podman or connect().info.get("CgroupDriver") != "cgroupfs":
        pytest.skip("only Docker's own way of placing containers is known well enough")
    parent = f"coopery_{home_id(tmp_path)}_elsewhere"
    made = job(tmp_path, f"import time; {HOLDS}; time.sleep(0.5)")
    host = {**made.body["HostConfig"], "CgroupParent": f"/{parent}"}
    placed = Job(
        home=tmp_path,
        run="test",
        name="a",
        body={**made.body, "HostConfig": host},
        write=print,
    )
    try:
        assert (run_container(connect(), placed).memory.peak or 0) >= 80 * MIB
    finally:
        if os.geteuid() == 0:
            assert cgroups.remove(parent)


def test_waiting_costs_next_to_nothing(tmp_path: Path, engine: Any) -> None:
    """There is no busy loop: seconds of waiting take some hundredths of the processor's time."""
    waiting = threading.Thread(
        target=run_container, args=(connect(), job(tmp_path, "import time; time.sleep(5)"))
    )
    waiting.start()
    time.sleep(2)
    before = time.process_time()
    time.sleep(2)
    spent = time.process_time() - before
    waiting.join()
    assert spent < 0.1


def test_a_killed_run_leaves_no_group(own_groups: Path, engine: Any) -> None:
    """The next run removes it, and `doctor --mend` where no note tells of the run."""
    from coopery_docker.leftovers import quick, thorough

    text = f"""
    from pathlib import Path
    import sys
    sys.path.insert(0, {str(Path(__file__).parents[2])!r})
    from tests.docker.test_memory import job
    from coopery_docker.client import connect
    from coopery_docker.containers import run_container
    waits = "import time; time.sleep(60)"
    run_container(connect(), job(Path({str(own_groups)!r}), waits, monitored=True))
    """
    code = "\n".join(line.strip() for line in text.splitlines())
    deadline = time.monotonic() + 60
    child = subprocess.Popen([sys.executable, "-c", code], cwd=own_groups)
    try:
        while not (made := cgroups.left(own_groups)) or not cgroups.own(made[0]).processes():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert cgroups.left(own_groups) == made
    told = [finding.text for finding in quick(own_groups)]
    assert any(f"removed the control group {made[0]}" in line for line in told), told
    assert cgroups.left(own_groups) == [] and not list(cgroups.TOP.glob(f"*/{made[0]}"))

    name = cgroups.make_own(connect(), own_groups, "20261122T120000000-abcd")
    assert name is not None
    (found,) = [f for f in thorough(own_groups, mend=False) if name in f.text]
    assert not found.mended and "doctor --mend" in (found.hint or "")
    (found,) = [f for f in thorough(own_groups, mend=True) if name in f.text]
    assert found.mended and cgroups.left(own_groups) == []


def facts(project: Project, text: str, *, code: int = 0) -> Mapping[str, Any]:
    """What the record of the task `a` says, and its problem if it failed."""
    project.write("recipe.toml", HEAD + text)
    answer = project.coopery("run", "-r", "docker", "--json")
    assert answer.exit_code == code, answer.stderr
    step = next(s for s in answer.json["steps"] if s["step"] == "a")
    found: dict[str, Any] = {**step["facts"]}
    if step["problems"]:
        found["message"] = step["problems"][0]["message"]
    return found


def test_a_record_tells_what_each_figure_is(contained: Project, own_groups: Path) -> None:
    contained.plugin("monitored", MONITORED)
    found = facts(contained, f"[task.a]\ncommand = ['python3', '-c', '{HOLDS}']\n")
    assert 80 * MIB <= found["peak_memory"] < 120 * MIB and found["peak_memory_complete"] is True
    assert 0 < found["unreclaimable_memory"] <= found["peak_memory"]
    assert cgroups.left(contained.home) == []


def test_out_of_memory_names_limit_and_peak(contained: Project) -> None:
    """With 137 in the record also where a shell lives on and has another exit code."""
    command = "python3 -c 'import time; x = bytearray(50 << 20); time.sleep(0.5); x *= 4'; exit 3"
    text = f'[task.a]\ncommand = """{command}"""\nresources.memory = "64Mi"\n'
    found = facts(contained, text, code=1)
    assert found["exit_code"] == 137 and found["peak_memory"] < 65 * MIB
    assert "at its memory limit of 64 MiB, having held " in found["message"]


def test_what_was_not_measured_is_not_shown_as_nothing(
    contained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
    from coopery_docker.memory import Measured, Peak
    Peak.end = lambda self: (self._stop.set(), Measured())[1]
    """
    contained.plugin("unmeasured", text)
    found = facts(contained, "[task.a]\ncommand = 'true'\n")
    assert found["peak_memory"] is None and found["unreclaimable_memory"] is None
    assert found["peak_memory_complete"] is False
    for command in ("show", "status"):
        answer = contained.coopery(command)
        assert answer.exit_code == 0 and "0 B" not in answer.stdout, answer.stdout
    assert Measured() == Measured(peak=None, complete=False, taken=None)
