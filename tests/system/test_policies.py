"""What happens when tasks fail, ask for resources, or wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, make_project


def counting(log: Path, succeeds_at: int, ends: str = "exit 1") -> str:
    """A command that notes each call, and ends badly until the n-th."""
    return f"echo x >> {log}; test $(wc -l < {log}) -ge {succeeds_at} || {ends}"


def seconds(step: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(step[name]).timestamp()


def test_a_task_is_tried_again_with_growing_pauses(project: Project) -> None:
    log = project.root / "log"
    project.write(
        "recipe.toml",
        f"[task.a]\ncommand = '{counting(log, 3)}'\n"
        "retries = {{ count = 2, delay = '300ms' }}\n".replace("{{", "{").replace("}}", "}"),
    )
    answer = project.coopery("run", "--json")
    assert answer.exit_code == 0, answer.stderr
    (step,) = answer.json["steps"]
    assert step["facts"]["attempts"] == 3
    assert seconds(step, "ended") - seconds(step, "started") >= 0.9
    assert "attempt 1 of 3 failed" in answer.stderr and "trying again in 0.60s" in answer.stderr


def test_retries_end(project: Project) -> None:
    log = project.root / "log"
    project.write("recipe.toml", f"[task.a]\ncommand = '{counting(log, 9)}'\nretries = 2\n")
    answer = project.coopery("run", "--json")
    assert answer.exit_code == 1
    assert log.read_text() == "x\n" * 3
    assert answer.json["steps"][0]["facts"]["attempts"] == 3


@pytest.mark.parametrize(
    ("on", "ends", "calls"),
    [
        ("[75]", "exit 75", 2),
        ("[75]", "exit 76", 1),
        ("[143]", "kill -TERM $$", 2),
        ("['timeout']", "sleep 30", 2),
        ("['timeout']", "exit 1", 1),
        ("['out-of-memory']", "sleep 30", 1),
        ("[75, 'timeout']", "exit 75", 2),
    ],
)
def test_what_a_task_is_tried_again_after(project: Project, on: str, ends: str, calls: int) -> None:
    log = project.root / "log"
    project.write(
        "recipe.toml",
        f'[task.a]\ncommand = "{counting(log, 2, ends)}"\ntimeout = "1s"\n'
        f"retries = {{ count = 1, on = {on} }}\n",
    )
    code = project.coopery("run").exit_code
    assert log.read_text() == "x\n" * calls
    assert code == (0 if calls == 2 else 1)


def test_what_cannot_get_better_is_not_tried_again(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = ['no-such-program']\nretries = 5\n")
    answer = project.coopery("run", "--json")
    assert answer.json["steps"][0]["facts"]["attempts"] == 1


def test_others_go_on_while_a_task_waits_for_its_next_try(project: Project) -> None:
    log = project.root / "log"
    project.write(
        "recipe.toml",
        f"[task.a]\ncommand = '{counting(log, 2)}'\nretries = {{ count = 1, delay = 2 }}\n"
        "[task.b]\ncommand = 'true'\n",
    )
    steps = project.run("-j", "1")
    assert seconds(steps["b"], "ended") < seconds(steps["a"], "ended") - 1


def test_a_failed_attempts_leftovers_do_not_reach_the_next(project: Project) -> None:
    log = project.root / "log"
    project.write(
        "recipe.toml",
        f"[task.a]\ncommand = 'ls > {{outputs.o}}; touch left; {counting(log, 2)}'\n"
        "outputs.o = 'o'\nretries = 1\n",
    )
    project.run()
    assert project.read("o") == ""


FAILING = """
[task.bad]
command = "sleep 0.2; exit 1"
outputs.o = {}
[task.after]
command = "true"
inputs.i = { from = "bad.o" }
[task.last]
command = "true"
inputs.i = { from = "bad.o" }
[task.slow]
command = "sleep 0.6"
[task.other]
command = "sleep 0.1"
resources.license = 1
[task.other2]
command = "sleep 0.6"
resources.license = 1
[task.other3]
command = "true"
resources.license = 1
"""


def test_descendants_are_skipped_and_the_rest_finishes(project: Project) -> None:
    project.write("recipe.toml", FAILING)
    answer = project.coopery("run", "--json", "-j", "4", "--capacity", "license=1")
    assert answer.exit_code == 1
    states = {step["step"]: step["state"] for step in answer.json["steps"]}
    assert states == {
        "bad": "failed",
        "after": "skipped",
        "last": "skipped",
        "slow": "succeeded",
        "other": "succeeded",
        "other2": "succeeded",
        "other3": "succeeded",
    }


def test_fail_fast_starts_nothing_more_and_lets_what_runs_end(project: Project) -> None:
    project.write("recipe.toml", FAILING)
    answer = project.coopery("run", "--json", "-j", "4", "--fail-fast", "--capacity", "license=1")
    assert answer.exit_code == 1
    states = {step["step"]: step["state"] for step in answer.json["steps"]}
    assert states["bad"] == "failed" and states["slow"] == "succeeded"
    assert states["other3"] == "cancelled" and states["after"] == "skipped"


def spans(steps: dict[str, dict[str, Any]]) -> list[tuple[float, float]]:
    return sorted((seconds(step, "started"), seconds(step, "ended")) for step in steps.values())


def overlap(steps: dict[str, dict[str, Any]]) -> int:
    """The most steps that were under way at one time."""
    found = spans(steps)
    return max(sum(a <= start < b for a, b in found) for start, _ in found)


LICENSED = """
[task.a]
matrix.n = [0, 1, 2, 3]
command = "sleep 0.3; echo {matrix.n}"
resources.license = 1
"""


def test_a_resource_of_ones_own_bounds_a_run(project: Project) -> None:
    project.write("recipe.toml", LICENSED)
    assert overlap(project.run("-j", "4", "--capacity", "license=2")) == 2
    assert overlap(project.run("-j", "4", "--force", "--capacity", "license=1")) == 1


def test_a_resource_bounds_all_runs_on_a_home(tmp_path: Path) -> None:
    first = make_project(tmp_path)
    projects = [first]
    for number in range(2):
        root = tmp_path / f"other{number}"
        root.mkdir()
        projects.append(Project(root=root, home=first.home))
    for number, project in enumerate(projects):
        project.write("recipe.toml", LICENSED.replace("echo {", f"echo {number} {{"))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "coopery", "run", "-j", "4", "--capacity", "license=2"],
            cwd=project.root,
            env={**os.environ, "COOPERY_HOME": str(project.home)},
            stderr=subprocess.DEVNULL,
        )
        for project in projects
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    steps = {
        f"{index} {step['step']}": step
        for index, project in enumerate(projects)
        for step in project.coopery("show", "--json").json["steps"]
    }
    assert len(steps) == 12 and overlap(steps) == 2


def test_capacity_can_stand_in_pyproject(project: Project) -> None:
    project.write("recipe.toml", LICENSED)
    project.write("pyproject.toml", "[tool.coopery]\ncapacity = ['license=1']\n")
    assert overlap(project.run("-j", "4")) == 1


def test_cpu_and_memory_bound_a_run(project: Project) -> None:
    for name, amount in (("cpu", "1"), ("memory", "'1Gi'")):
        project.write("recipe.toml", LICENSED.replace("license = 1", f"{name} = {amount}"))
        limit = f"{name}={'2' if name == 'cpu' else '2Gi'}"
        assert overlap(project.run("-j", "4", "--force-all", "--capacity", limit)) == 2


@pytest.mark.parametrize(
    ("asks", "slug", "said"),
    [
        ("cpu = 4000", "never-fits", "it asks for 4000 cpu, and there is"),
        ("memory = '5000Ti'", "never-fits", "5000 TiB memory"),
        ("license = 1", "unknown-resource", "--capacity license=1"),
        ("memroy = '1Gi'", "unknown-resource", "did you mean 'memory'?"),
        ("gpu = 1000", "never-fits", "it asks for 1000 gpu"),
    ],
)
def test_what_can_never_fit_is_an_error_before_anything_runs(
    project: Project, asks: str, slug: str, said: str
) -> None:
    project.write(
        "recipe.toml",
        f"[task.a]\ncommand = 'touch {project.root}/ran'\n\n"
        f"[task.b]\ncommand = 'true'\nresources.{asks}\n",
    )
    answer = project.coopery("run")
    assert answer.exit_code == (3 if slug == "never-fits" else 2) and answer.slugs == (slug,)
    assert said in answer.stderr and "recipe.toml:6" in answer.stderr
    assert not (project.root / "ran").exists()
    foretold = project.coopery("run", "--dry-run")
    assert foretold.exit_code == answer.exit_code and foretold.stdout == ""
    assert foretold.told(slug) == answer.told(slug)


def test_what_is_remembered_needs_no_resources(project: Project) -> None:
    project.write("recipe.toml", LICENSED)
    project.run("--capacity", "license=1")
    assert all(step["cached"] for step in project.run().values())
    assert set(project.forecast().values()) == {"cached"}
    for dry in ((), ("--dry-run",)):
        assert project.coopery("run", "--force", *dry).slugs == ("unknown-resource",)


@pytest.mark.parametrize("text", ["license", "license=", "license=many", "=1", "a b=1"])
def test_capacities_that_are_none(project: Project, text: str) -> None:
    project.write("recipe.toml", LICENSED)
    answer = project.coopery("run", "--capacity", text)
    assert answer.exit_code == 2 and answer.slugs == ("bad-option",)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("license=1", "license=2"), "license is given twice: 1 and 2"),
        (("cpu=0",), "nothing runs without any"),
        (("memory=0",), "nothing runs without any"),
    ],
)
def test_capacities_that_nobody_can_mean(
    project: Project, texts: tuple[str, ...], said: str
) -> None:
    project.write("recipe.toml", LICENSED)
    flags = [word for text in texts for word in ("--capacity", text)]
    answer = project.coopery("run", *flags)
    assert answer.exit_code == 2 and said in answer.told("bad-option")


def test_none_of_a_resource_is_a_capacity(project: Project) -> None:
    project.write("recipe.toml", LICENSED)
    answer = project.coopery("run", "--capacity", "license=0")
    assert "there is 0" in answer.told("never-fits")
    assert project.coopery("run", *["--capacity", "license=1"] * 2, "-n").exit_code == 0


def test_no_gpu_is_handed_out_that_is_not_there(project: Project) -> None:
    """A capacity that a team shares may say more than one of its machines has."""
    project.write("pyproject.toml", "[tool.coopery]\ncapacity = ['gpu=1000']\n")
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\nresources.gpu = 999\n")
    answer = project.coopery("run")
    assert answer.exit_code == 3 and "--capacity adds no GPU" in answer.told("never-fits")
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    project.run()


def test_priorities_order_what_is_ready(project: Project) -> None:
    project.write(
        "recipe.toml",
        "[task.a]\ncommand = 'echo a'\n[task.b]\ncommand = 'echo b'\npriority = 5\n"
        "[task.c]\ncommand = 'echo c'\npriority = -1\n",
    )
    steps = project.run("-j", "1")
    assert sorted(steps, key=lambda name: steps[name]["started"]) == ["b", "a", "c"]


def test_a_run_of_higher_priority_gets_a_resource_first(tmp_path: Path) -> None:
    low = make_project(tmp_path)
    root = tmp_path / "high"
    root.mkdir()
    high = Project(root=root, home=low.home)
    low.write("recipe.toml", LICENSED.replace("sleep 0.3", "sleep 1"))
    high.write("recipe.toml", "[task.x]\ncommand = 'true'\nresources.license = 1\n")
    background = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "--capacity", "license=1", "--priority=-1"],
        cwd=low.root,
        env={**os.environ, "COOPERY_HOME": str(low.home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not list(low.home.glob("runs/*/logs/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = high.coopery("run", "--json", "--capacity", "license=1")
    assert answer.exit_code == 0
    _, told = background.communicate(timeout=60)
    assert background.returncode == 0, told
    steps = low.coopery("show", "--json").json["steps"]
    urgent = seconds(answer.json["steps"][0], "started")
    assert sum(seconds(step, "started") < urgent for step in steps) < 4
    assert "wait     x  (for license (run " in answer.stderr
