"""Killed at random moments, and run by many at once: right bytes, and nothing done twice.

`COOPERY_CRASHES` says how many times to kill; `nox -s crashes` sets a hundred.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from coopery.testing import Project, make_project

KILLS = int(os.environ.get("COOPERY_CRASHES", "8"))
WIDTH, DEPTH = 4, 4


def recipe(log: Path) -> str:
    """Layers of short tasks, a folder and a transient output among them; each notes its end."""
    lines = []
    for layer in range(DEPTH):
        for number in range(WIDTH):
            name = f"t{layer}{number}"
            reads = [f"t{layer - 1}{(number + k) % WIDTH}" for k in range(2)] if layer else []
            paths = " ".join(f"{{inputs.{need}}}" for need in reads)
            kept = "{ transient = true }" if layer == 1 else f"'build/{name}'"
            lines += [
                f"[task.{name}]",
                f"command = 'echo {name} begins >> {log}; cat /dev/null {paths} > {{outputs.o}}; "
                f"seq 2000 >> {{outputs.o}}; echo {name} >> {{outputs.o}}; sleep 0.05; "
                f"echo {name} ends >> {log}'",
                f"outputs.o = {kept}",
                *(f"inputs.{need} = {{ from = '{need}.o' }}" for need in reads),
            ]
    return "\n".join(lines) + "\n"


def golden() -> dict[str, str]:
    """What every delivered output must hold, by the recipe's arithmetic."""
    lines = "".join(f"{number}\n" for number in range(1, 2001))
    found: dict[str, str] = {}
    for layer in range(DEPTH):
        for number in range(WIDTH):
            above = [f"t{layer - 1}{(number + k) % WIDTH}" for k in range(2)] if layer else []
            text = "".join(found[need] for need in above)
            found[f"t{layer}{number}"] = f"{text}{lines}t{layer}{number}\n"
    return found


def start(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "-j", "2", *arguments],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def check(project: Project) -> None:
    """All outputs are right, and nothing of a dead run is left."""
    for name, text in golden().items():
        if not name.startswith("t1"):
            assert project.read(f"build/{name}") == text
    assert sorted(p.name for p in (project.root / "build").iterdir()) == sorted(
        name for name in golden() if not name.startswith("t1")
    )
    assert list((project.home / "scratch").iterdir()) == []


def strays(project: Project) -> list[str]:
    """Processes that have the project's folder in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            words = (entry / "environ").read_bytes() + command
        except OSError:
            continue
        if os.fsencode(project.home) in words:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.mark.parametrize("part", range(2))
def test_killed_at_random_and_run_again(tmp_path: Path, part: int) -> None:
    dice = random.Random(part)
    killed = 0
    for turn in range(part, KILLS, 2):
        folder = tmp_path / str(turn)
        folder.mkdir()
        project = make_project(folder)
        log = project.root / "log"
        project.write("recipe.toml", recipe(log))
        process = start(project)
        time.sleep(dice.uniform(0.15, 2.0))
        if process.poll() is None:
            killed += 1
            if turn % 4 < 2:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while strays(project):
            assert time.monotonic() < deadline, strays(project)
            time.sleep(0.05)
        before = Counter(log.read_text().splitlines() if log.exists() else ())
        committed = committed_steps(project)
        answer = project.coopery("run", "-j", "2")
        assert answer.exit_code == 0, answer.stderr
        check(project)
        after = Counter(log.read_text().splitlines())
        for name in golden():
            again = after[f"{name} begins"] - before[f"{name} begins"]
            if name in committed and not name.startswith("t1"):
                assert again == 0, f"{name} had finished, and was done again"
            assert again <= 2
        assert all(s["cached"] for s in project.run().values())
    assert killed or KILLS < 4


def committed_steps(project: Project) -> set[str]:
    """What is remembered, as far as a forecast can tell."""
    answer = project.coopery("run", "--dry-run", "--json")
    assert answer.exit_code == 0, answer.stderr
    return {s["step"] for s in answer.json["steps"] if s["forecast"] == "cached"}


def test_eight_at_once_do_each_thing_once(project: Project) -> None:
    log = project.root / "log"
    project.write("recipe.toml", recipe(log))
    processes = [start(project) for _ in range(8)]
    assert [process.wait(120) for process in processes] == [0] * 8
    done = Counter(line for line in log.read_text().splitlines() if line.endswith("ends"))
    assert set(done) == {f"{name} ends" for name in golden()}
    lasting = {line: count for line, count in done.items() if not line.startswith("t1")}
    assert set(lasting.values()) == {1}
    check(project)
    assert strays(project) == []
