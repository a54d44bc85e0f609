"""The quick check of records says what a full validator of JSON Schemas says."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coopery import record_check, record_schema
from coopery.errors import MachineError
from coopery.testing import Project, make_project

RECIPE = """
[task.make]
matrix.n = [1, 2]
params.p = 3
command = 'echo {params.p} > "{outputs.x}"; exit {matrix.n}'
outputs.x = {}
[task.read]
command = 'cat {inputs.x}'
inputs.x = { from = "make.x" }
resources = { cpu = 1, memory = "64Mi" }
[task.good]
command = 'echo > {outputs.x}'
outputs.x = "x"
"""
OTHERS: tuple[Any, ...] = (None, "x", 5, -1, True, [], [5], {}, {"a": 5})


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A record with all there may be in one."""
    project = make_project(tmp_path_factory.mktemp("record"))
    project.write("recipe.toml", RECIPE)
    answer = project.coopery("run", "--json")
    assert answer.exit_code == 1
    return answer.json


@pytest.fixture(scope="module")
def run_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project that ran twice, and the first run; its home as it was then is beside it."""
    project = make_project(tmp_path_factory.mktemp("twice"))
    project.write("recipe.toml", RECIPE)
    project.run("good")
    first = project.coopery("show", "--json").json["run"]
    project.run("good")
    for folder in (project.root, project.home):
        shutil.copytree(folder, folder.with_suffix(".kept"), symlinks=True)
    return project, first


@pytest.fixture
def twice(run_twice: tuple[Project, str]) -> tuple[Project, str]:
    """That project as it was then."""
    project, first = run_twice
    for folder in (project.root, project.home):
        shutil.rmtree(folder)
        shutil.copytree(folder.with_suffix(".kept"), folder, symlinks=True)
    return project, first


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if path:
        yield path
    items = dict(enumerate(value)) if isinstance(value, list) else value
    for name, item in items.items() if isinstance(items, dict) else ():
        yield from paths(item, (*path, name))


def altered(record: Any, path: tuple[Any, ...], alter: Callable[[Any, Any], None]) -> Any:
    found = copy.deepcopy(record)
    folder = found
    for name in path[:-1]:
        folder = folder[name]
    alter(folder, path[-1])
    return found


def test_it_says_what_the_schema_says(record: Any) -> None:
    schema = record_schema.schema()
    validator = jsonschema.Draft202012Validator(schema)
    check = record_check.checker(schema)
    assert check(record) is None
    tried = wrong = 0
    for path in paths(record):
        cases = [altered(record, path, lambda folder, name: folder.pop(name))]
        for other in OTHERS:
            cases.append(altered(record, path, lambda f, name, o=other: f.__setitem__(name, o)))  # type: ignore[misc]
        for case in cases:
            fault = check(case)
            if fault is None or path[-1] not in ("started", "ended"):  # whose format is optional
                assert validator.is_valid(case) == (fault is None), (path, fault)
            tried, wrong = tried + 1, wrong + (fault is not None)
    assert 200 < wrong < tried


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("steps", 3, "started"), "yesterday", "steps[3].started"),
        (("steps", 0, "reason"), {"code": "new"}, "steps[0].reason.text"),
        (("steps",), None, "steps"),
        (("ended",), None, "ended"),
        (("schema",), "2", "schema"),
    ],
)
def test_it_says_where(record: Any, path: tuple[Any, ...], value: Any, told: str) -> None:
    wrong = altered(record, path, lambda folder, name: folder.__setitem__(name, value))
    with pytest.raises(MachineError) as error:
        record_check.check("r", wrong)
    assert error.value.problems[0].slug == "run-damaged"
    assert f"damaged: {told} is not as it should be" in str(error.value)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(key)


def having(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(values)


@pytest.mark.parametrize("state", ["ended", "killed"])
@pytest.mark.parametrize(
    "damage",
    [
        without("recipe"),
        without("started"),
        having(steps=None),
        having(steps=[{"step": 3}]),
        having(schema=9),
        having(started="noon"),
        having(state="resting"),
        having(targets=5),
    ],
)
def test_one_damaged_record_keeps_no_other_away(
    twice: tuple[Project, str], state: str, damage: Callable[[dict[str, Any]], object]
) -> None:
    project, good = twice
    path = max(project.home.glob("runs/*/record.json"))
    document = json.loads(path.read_text())
    if state == "killed":
        document = {k: v for k, v in document.items() if k not in ("ended", "exit_code", "steps")}
        document["state"] = "running"
        (path.parent / "progress.jsonl").write_text('[]\n{"plan": [5]}\n{"step": 5}\n7\n')
    damage(document)
    path.write_text(json.dumps(document))
    bad = path.parent.name
    if state == "killed" and document.get("steps", 5) != 5:
        return  # its steps are in the other file
    for command in (["status"], ["show"], ["logs", "good"], ["why", "good"], ["list"]):
        answer = project.coopery(*command)
        assert answer.exit_code == 0, answer.stderr
    runs = project.coopery("runs", "--json")
    assert [row["run"] for row in runs.json] == [good] and f"run {bad} " in runs.stderr
    assert project.coopery("report", "-o", "report.html").exit_code == 0
    slug = "run-format" if document.get("schema") == 9 else "run-damaged"
    assert project.coopery("show", bad).slugs == (slug,)
    wrong = slug == "run-damaged"
    assert project.coopery("cache", "verify").exit_code == (3 if wrong else 0)
    found = {row["subject"]: row for row in project.coopery("doctor", "--json").json["findings"]}
    assert found["records"]["state"] == ("warning" if wrong else "ok")
    assert project.coopery("cache", "verify", "--repair").exit_code == 0
    assert Path(path).exists() == (not wrong)
    assert project.coopery("runs").stderr.count("left out") == (not wrong)
    assert project.coopery("run").exit_code == 1
