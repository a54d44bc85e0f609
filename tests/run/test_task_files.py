"""A task.json that is run: its exit code is that of its task, and 126 says that it is skipped."""

from __future__ import annotations

import json

import pytest

from coopery.testing import Project


@pytest.mark.parametrize(
    ("end", "state", "code", "run"),
    [
        ("exit 0", "succeeded", 0, 0),
        ("exit 5", "failed", 5, 1),
        ("exit 126", "skipped", 126, 0),
        ("kill -9 $$", "failed", 137, 1),
    ],
)
def test_its_exit_code(project: Project, end: str, state: str, code: int, run: int) -> None:
    command = ["sh", "-c", f"echo said; {end}"]
    template = {"identifier": "t", "description": "d", "command": command}
    specification = {"name": "n", "description": "d", "api_version": 1, "templates": [template]}
    project.write("spec.json", json.dumps(specification))
    task = {
        "name": "a",
        "image": "nowhere:1",
        "taskTemplate": "t",
        "api_version": 1,
    }
    project.write("task.json", json.dumps(task))
    arguments = ("run", "-f", "task.json", "-r", "local", "--specification", "spec.json")
    answer = project.coopery(*arguments, "--output", "run.json")
    assert answer.exit_code == code, answer.stderr
    assert project.coopery(*arguments, "--exit-code", "run").exit_code == run
    (told,) = (project.coopery("status", "run.json", "--json").json["latest"]["task"],)
    assert (told["step"], told["state"], told["cached"]) == ("a", state, False)
    detached = project.coopery(*arguments, "--detach")
    assert detached.exit_code == 0, detached.stderr
    assert project.coopery("logs", "-f", detached.stdout.strip()).stdout == "said\n"
