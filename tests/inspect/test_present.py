"""`status`, `runs`, `stop`, `logs --follow`, and the record of a run in every state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coopery import record_schema

from .conftest import Project

DEADLINE = 60.0
RECIPE = """\
[task.quick]
command = 'echo quick; echo 1 > "{outputs.o}"'
outputs.o = {}

[task.slow]
matrix.n = [1, 2]
command = 'cat {inputs.i}; echo "begin {matrix.n}"; GATE; printf "end {matrix.n}"; echo {params.p}'
params.p = ""
inputs.i = { from = "quick.o" }

[task.last]
command = 'echo last; cat {inputs.i}'
inputs.i = { from = "gate.o" }

[task.gate]
command = 'GATE; echo gate > "{outputs.o}"'
outputs.o = {}
"""


class Live:
    """A project whose tasks go on only once a gate is open."""

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self.project = project
        self.gate = project.root.parent / "open"
        self._stack = stack
        wait = f"until test -e {self.gate}; do sleep 0.05; done"
        (project.root / "recipe.toml").write_text(RECIPE.replace("GATE", wait))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start coopery; it is killed at the test's end if it still runs."""
        process = subprocess.Popen(
            [sys.executable, "-m", "coopery", *arguments],
            cwd=self.project.root,
            env={**os.environ, "COOPERY_HOME": str(self.project.home), "COOPERY_JOBS": "4"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def until_running(self, *steps: str) -> dict[str, Any]:
        """Wait until exactly these steps run; what `status` answers then."""
        found: dict[str, Any] = until(
            lambda: self.project.json("status"),
            lambda found: bool(
                found["running"] and {s["step"] for s in found["running"][0]["steps"]} == set(steps)
            ),
        )
        return found

    def open(self) -> None:
        """Let the tasks go on."""
        self.gate.touch()


def until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """Look until what is found is good."""
    deadline = time.monotonic() + DEADLINE
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.fixture
def live(project: Project) -> Iterator[Live]:
    with ExitStack() as stack:
        found = Live(project, stack)
        yield found
        found.open()


def check_record(record: dict[str, Any]) -> None:
    """A record is as the schema says, and has no key that the schema does not tell of."""
    schema = record_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(record, schema)
    assert record.keys() <= schema["properties"].keys()
    known = schema["properties"]["steps"]["items"]["properties"].keys()
    for step in record["steps"]:
        assert step.keys() <= known


def test_status_tells_what_runs_and_then_how_it_ended(live: Live) -> None:
    assert live.project("status").stdout == "nothing is running, and no run is kept\n"
    process = live.start("run", "slow", "last")
    found = live.until_running("slow@n=1", "slow@n=2", "gate")
    (running,) = found["running"]
    assert running["counts"]["done"] == 1 and running["counts"]["pending"] == 1
    assert running["seconds"] >= max(step["seconds"] for step in running["steps"]) > 0
    lines = live.project("status").stdout.splitlines()
    assert lines[0].startswith(f"run {running['run']}: running for ")
    assert lines[0].endswith("1 done, 3 running, 1 pending")
    assert {line.split()[0] for line in lines[2:]} == {"slow@n=1", "slow@n=2", "gate"}
    assert live.project.json("status", running["run"])["running"][0]["run"] == running["run"]
    live.open()
    assert process.wait(DEADLINE) == 0
    found = live.project.json("status")
    assert found["running"] == [] and found["latest"]["counts"]["done"] == 5
    text = live.project("status").stdout
    assert text.startswith("nothing is running\n") and "ended (exit code 0)" in text


def test_status_and_runs_keep_recipes_apart(live: Live, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.toml").write_text("[task.a]\ncommand = 'true'\n")
    live.start("run", "gate")
    (run,) = live.until_running("gate")["running"]
    there = Project(other, live.project.home)
    assert there.json("status") == {"running": [], "latest": None}
    assert there("runs").stdout == "no run is kept\n"
    mine = there.json("run")["run"]
    assert [found["run"] for found in there.json("runs")] == [mine]
    assert [found["run"] for found in there.json("runs", "--all")] == [mine, run["run"]]
    outside = Project(tmp_path, live.project.home)
    assert [found["run"] for found in outside.json("runs", "--limit", "1")] == [mine]
    assert [found["run"] for found in outside.json("status")["running"]] == [run["run"]]
    assert "[bad-option]" in there("runs", "--limit", "0", code=2).stderr
    assert "[no-recipe]" in outside("runs", "-f", "nowhere.toml", code=2).stderr


@pytest.mark.parametrize("now", [False, True])
def test_stop_ends_the_only_run_and_says_how(live: Live, now: bool) -> None:
    process = live.start("run", "--json")
    live.until_running("slow@n=1", "slow@n=2", "gate")
    ended = live.project("stop", *(["--now"] if now else []))
    assert "interrupted (exit code 130)" in ended.stdout
    assert process.wait(DEADLINE) == 130
    record = live.project.json("show")
    check_record(record)
    states = {step["step"]: step["state"] for step in record["steps"]}
    assert states.pop("quick") == "succeeded" and states.pop("last") in ("cancelled", "skipped")
    assert states == dict.fromkeys(("slow@n=1", "slow@n=2", "gate"), "cancelled")


def test_stop_says_what_there_is_to_choose_from(live: Live) -> None:
    assert "[not-running]" in live.project("stop", code=2).stderr
    first = live.start("run", "gate")
    live.until_running("gate")
    second = live.start("run", "slow@n=1")
    both = until(lambda: live.project.json("status")["running"], lambda found: len(found) == 2)
    answer = live.project("stop", code=2).stderr
    assert "[which-run]" in answer and all(run["run"] in answer for run in both)
    stopped = live.project.json("stop", both[1]["run"])
    assert stopped["state"] == "interrupted" and first.wait(DEADLINE) == 130
    asked = live.project.json("stop", "--no-wait")
    assert asked["run"] == both[0]["run"] and second.wait(DEADLINE) == 130
    assert "[not-running]" in live.project("stop", both[1]["run"], code=2).stderr
    assert "[unknown-run]" in live.project("stop", "nope", code=2).stderr


def test_a_log_is_followed_from_before_its_step_starts_to_its_end(live: Live) -> None:
    process = live.start("run", "last", "slow")
    live.until_running("gate", "slow@n=1", "slow@n=2")
    one = live.start("logs", "-f", "last")
    both = live.start("logs", "-f", "slow", "quick")
    assert one.stdout is not None and both.stdout is not None
    early = sorted(both.stdout.readline() for _ in range(5))
    assert early == [
        "quick    | quick\n",
        *(f"slow@n={n} | {text}\n" for n in (1, 2) for text in ("1", f"begin {n}")),
    ]
    assert process.poll() is None
    live.open()
    rest, story = both.communicate(timeout=DEADLINE)
    assert sorted(rest.splitlines()) == ["slow@n=1 | end 1", "slow@n=2 | end 2"]
    assert set(story.splitlines()) == {
        "quick: succeeded",
        "slow@n=1: succeeded",
        "slow@n=2: succeeded",
    }
    printed, story = one.communicate(timeout=DEADLINE)
    # On a busy machine the run may have ended before it was followed.
    assert printed == "last\ngate\n"
    assert story == "last: succeeded\n" or story.startswith("last, run ")
    assert process.wait(DEADLINE) == 0
    # Nothing runs any more: then it is what was printed.
    assert live.project("logs", "-f", "last").stdout == "last\ngate\n"


def test_following_ends_when_the_run_dies(live: Live) -> None:
    process = live.start("run")
    live.until_running("gate", "slow@n=1", "slow@n=2")
    following = live.start("logs", "-f", "last", "slow@n=1")
    assert following.stdout is not None and "1" in following.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE)
    _, story = following.communicate(timeout=DEADLINE)
    assert following.returncode == 0
    assert set(story.splitlines()) == {"slow@n=1: cancelled", "last: cancelled"}
    record = live.project.json("show")
    check_record(record)
    assert record["state"] == "killed"
    (row,) = live.project.json("runs")
    assert (row["state"], row["seconds"], row["counts"]["cancelled"]) == ("killed", None, 4)
    # What was printed before is there to be read.
    assert live.project("logs", "slow@n=1").stdout == "1\nbegin 1\n"


def test_following_what_is_not_there(live: Live) -> None:
    live.start("run", "gate")
    live.until_running("gate")
    assert "[no-log]" in live.project("logs", "-f", "slow", code=2).stderr
    assert "did you mean 'gate'" in live.project("logs", "-f", "gat", code=2).stderr
    assert "[bad-command-line]" in live.project("logs", "-f", "gate", "--json", code=2).stderr
    assert "[bad-command-line]" in live.project("logs", code=2).stderr


def test_logs_of_what_failed_and_their_ends(project: Project) -> None:
    project("run")
    assert "nothing failed in run" in project("logs", "--failed").stderr
    project.edit("echo fold {matrix.fold}", "seq 1 9; test {matrix.fold} = 0 || exit 3")
    run = project.json("run", code=1)["run"]
    assert project("logs", "--failed").stdout == "".join(f"{n}\n" for n in range(1, 10))
    assert project("logs", "--failed", "--tail", "2").stdout == "8\n9\n"
    assert project("logs", "--failed", "--tail", "0").stdout == ""
    assert project("logs", "--failed", "--tail", "99", "--run", run).stdout.startswith("1\n2\n")
    assert [log["text"] for log in project.json("logs", "fit", "--tail", "1")] == ["9\n", "9\n"]
    assert project("logs", "--failed", "prep").stdout == ""
    assert "[bad-command-line]" in project("logs", "fit", "--tail", "-1", code=2).stderr


def test_records_of_all_ends_are_as_the_schema_says(live: Live) -> None:
    process = live.start("run", "slow@n=1")
    live.until_running("slow@n=1")
    record = live.project.json("show")
    assert record["state"] == "running"
    check_record(record)
    live.open()
    assert process.wait(DEADLINE) == 0
    record = live.project.json("run", "slow", "last")
    assert {step["state"] for step in record["steps"]} == {"succeeded"}
    check_record(record)
    live.project.edit("echo quick", "exit 3")
    record = live.project.json("run", code=1)
    assert {step["state"] for step in record["steps"]} == {"succeeded", "failed", "skipped"}
    check_record(record)
    del record["ended"]
    with pytest.raises(jsonschema.ValidationError):
        check_record(record)


def test_schema_of_records_is_printed(project: Project) -> None:
    assert json.loads(project("schema", "--record").stdout) == record_schema.schema()
    assert "task" in json.loads(project("schema").stdout)["properties"]


def test_the_record_is_true_while_nothing_happens(live: Live) -> None:
    """What ends just after something began is told of, though nothing else happens for long."""
    project = live.project
    wait = f"until test -e {live.gate}; do sleep 0.05; done"
    recipe = f"[task.long]\ncommand = '{wait}'\n[task.short]\ncommand = 'echo short'\n"
    (project.root / "recipe.toml").write_text(recipe)
    process = live.start("run")
    live.until_running("long")
    (run,) = until(
        lambda: project.json("status")["running"], lambda found: bool(found[0]["counts"]["done"])
    )
    assert run["counts"]["running"] == 1
    assert project("logs", "-f", "short").stdout == "short\n"
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE)
    states = {step["step"]: step["state"] for step in project.json("show")["steps"]}
    assert states == {"short": "succeeded", "long": "cancelled"}
    (step,) = project.json("run", "short")["steps"]
    assert (step["cached"], step["made_by"]) == (True, run["run"])


@pytest.mark.parametrize("other", ["gate", "last"])
def test_a_run_that_waits_says_for_what(live: Live, other: str) -> None:
    """For another run that makes the same, or for what it has reserved."""
    project = live.project
    if other == "last":  # it shares nothing with `gate` but the license
        recipe = (project.root / "recipe.toml").read_text().replace('"gate.o"', '"quick.o"')
        recipe = recipe.replace("[task.gate]", "resources = {license = 1}\n\n[task.gate]")
        (project.root / "recipe.toml").write_text(f"{recipe}resources = {{license = 1}}\n")
    process = live.start("run", "gate", "--capacity", "license=1")
    (first,) = live.until_running("gate")["running"]
    live.start("run", other, "--capacity", "license=1")
    found = until(
        lambda: project.json("status")["running"],
        lambda found: len(found) == 2 and bool(found[0]["waiting"]),
    )
    run = found[0]["run"]
    told = f"run {first['run']} makes the same"
    told = told if other == "gate" else f"for license (run {first['run']})"
    assert found[0]["waiting"] == [{"step": other, "for": told}]
    assert found[0]["counts"]["pending"] == 1 and found[1]["waiting"] == []
    assert f"  {other}  waiting: {told}" in project("status").stdout.splitlines()
    record = project.json("show", run)
    check_record(record)
    assert {step["step"]: step.get("waiting") for step in record["steps"]}[other] == told
    assert f"  waiting: {told}\n" in project("show", run).stdout
    live.open()
    assert process.wait(DEADLINE) == 0
    until(lambda: project.json("show", run), lambda found: bool(found["state"] == "ended"))
    assert all("waiting" not in step for step in project.json("show", run)["steps"])
