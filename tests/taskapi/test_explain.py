"""`coopery explain`: the resolved task, by the installed command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

from .documents import CONTAINER, TASK, put, write


@pytest.fixture
def given(project: Project) -> dict[str, Any]:
    """A specification and a task with 615 bytes of data."""
    data = project.root / "data"
    for name, size in (("shapes/a.txt", 600), ("shapes/b.txt", 15), ("shapes/c.bin", 999)):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    write(project.root / "pc.json", CONTAINER)
    task = put(TASK, "/inputs/0/volume_source/host_path", "{{ custom.data }}/shapes")
    write(project.root / "t.json", task)
    return task


def explain(project: Project, *more: str) -> Any:
    data = f"custom.data={project.root / 'data'}"
    return project.coopery(
        *("explain", "t.json", "--specification", "pc.json"),
        *("--set", "custom.registry=here", "--set", data, *more),
    )


def test_every_value_has_its_source(project: Project, given: dict[str, Any]) -> None:
    found = explain(project, "--json").json
    assert found["image"] == "here/shapes:1"
    assert found["command"] == {"value": ["python3", "count.py"], "source": "template"}
    assert [(s["name"], s["source"], s["default"]) for s in found["env"]] == [
        ("DEPTH", "template", None),
        ("MODE", "task", "fast"),
        ("FORMAT", "template", None),
        ("EXTRA", "task", None),
    ]
    assert found["limits"]["memory"] == {"value": 128 * 2**20, "source": "task"}
    rule = found["inputs"][0]["scale_rule"]
    assert (rule["size"], rule["memory"]) == (615, 25 * 615)
    assert found["memory"] == {"limit": 128 * 2**20, "request": 1000}


def test_the_sum_behind_a_rule_is_shown(project: Project, given: dict[str, Any]) -> None:
    write(project.root / "t.json", put(given, "/resources/limits/memory", 100))
    answer = explain(project)
    assert answer.exit_code == 0
    for line in ("25 x 615 B = 15375 B", "600 B  a.txt", "memory limit: 15375 B (15.01 KiB)"):
        assert line in answer.stdout
    assert "MODE    'exact'  (task, instead of 'fast')" in answer.stdout
    assert "(with custom.registry)" in answer.stdout


def test_data_that_is_not_there(project: Project, given: dict[str, Any]) -> None:
    away = put(given, "/inputs/0/volume_source/host_path", str(project.root / "away"))
    write(project.root / "t.json", away)
    answer = explain(project)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "[missing-input]" in answer.stderr


def test_a_password_is_not_shown(project: Project, given: dict[str, Any]) -> None:
    password = "correct-horse-battery"
    given = put(given, "/config/registryPassword", password)
    write(project.root / "t.json", put(given, "/env/1/value", password))
    for answer in (explain(project), explain(project, "--json")):
        assert answer.exit_code == 0
        assert password not in answer.stdout + answer.stderr


def test_what_is_wrong_in_either_file(project: Project, given: dict[str, Any]) -> None:
    write(project.root / "t.json", put(given, "/inputs/0/name", "shape"))
    answer = explain(project)
    assert answer.exit_code == 2
    assert "t.json:" in answer.stderr and "did you mean 'shapes'?" in answer.stderr
    write(project.root / "pc.json", put(CONTAINER, "/templates/0/inputs/0/name", 3))
    answer = explain(project)
    assert "pc.json:" in answer.stderr and "/templates/0/inputs/0/name" in answer.stderr
    Path(project.root / "pc.json").unlink()
    assert "pc.json: the file cannot be read" in explain(project).stderr


LIMITS = "/resources/limits/memory"


@pytest.mark.parametrize(
    ("stated", "factor", "told"),
    [
        # What is stated, to the last byte; what the data asks for.
        ((2**30 + 1, 2**30), None, "1 GiB (1073741825 B) of memory, and its limit is 1 GiB (1073"),
        ((1, 2**10), 2, "1.201 KiB (1230 B) of memory, and its limit is 1 KiB (1024 B)"),
    ],
)
def test_a_request_above_the_limit(
    project: Project, given: dict[str, Any], stated: tuple[int, int], factor: int | None, told: str
) -> None:
    resources = {"requests": {"memory": stated[0]}, "limits": {"memory": stated[1]}}
    # The rule of the template raises the limit, so that what is stated alone is no error.
    assert explain(project).exit_code == 0
    rule = {"scale_factor": factor or 1, "type": "request", "mode": "sum"}
    rule["target_glob"] = "*.txt"
    task = put({**given, "resources": resources}, "/inputs/0/scale_rule", rule)
    write(project.root / "t.json", task)
    pc = put(CONTAINER, "/templates/0/inputs/0/scale_rule", ...)
    write(project.root / "pc.json", pc)
    answer = explain(project)
    assert answer.exit_code == 2
    assert "request-above-limit" in answer.stderr
    assert told in answer.stderr
    assert "(/resources" in answer.stderr


def test_a_stated_request_may_be_above_a_limit_that_the_data_raises(
    project: Project, given: dict[str, Any]
) -> None:
    resources = {"requests": {"memory": 15375}, "limits": {"memory": 1000}}
    write(project.root / "t.json", {**given, "resources": resources})
    assert explain(project, "--json").json["memory"] == {"limit": 15375, "request": 15375}


def test_a_command_is_shown_as_a_shell_takes_it(project: Project, given: dict[str, Any]) -> None:
    write(project.root / "t.json", {**given, "command": ["sh", "-c", "echo 'a b'"]})
    assert """command    sh -c 'echo '"'"'a b'"'"''  (task)""" in explain(project).stdout


def test_what_was_filled_in_is_told(project: Project, given: dict[str, Any]) -> None:
    env = [*given["env"], {"name": "WHO", "value": "{{ env.WHO }}/{{ custom.data }}"}]
    write(project.root / "t.json", {**given, "env": env})
    answer = project.coopery(
        *("explain", "t.json", "--specification", "pc.json", "--set", "custom.registry=here"),
        *("--set", f"custom.data={project.root / 'data'}"),
        env={"WHO": "me"},
    )
    assert answer.exit_code == 0, answer.stderr
    (who,) = [line for line in answer.stdout.splitlines() if line.startswith("  WHO ")]
    assert who.endswith("(task)  (with env.WHO, custom.data)")
    assert f"{project.root}/data/shapes  (with custom.data)  -> /data/shapes" in answer.stdout
    assert "  /in/model  " in answer.stdout
