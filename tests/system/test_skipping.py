"""A task that says by its exit code that it had nothing to do is skipped, and did not fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from coopery import record_schema
from coopery.testing import Project

PLUGIN = """
    from dataclasses import dataclass
    from coopery.dependencies import Invocation
    from coopery.hooks import hookimpl
    from coopery.recipes import Facet

    @dataclass(frozen=True)
    class Mays:
        words: tuple[str, ...]

    @hookimpl
    def declare_facets():
        return [Facet(noun="task", key="may", type=tuple[str, ...], wrap=Mays, action=True)]

    @hookimpl
    def plan_task(recipe, instance):
        for facet in instance.task.facets:
            if isinstance(facet, Mays):
                return Invocation(command=facet.words, shown="may", skip_codes=(126, 77))
"""
RECIPE = """
[task.source]
command = 'echo 1 > "{outputs.o}"'
outputs.o = { transient = true }

[task.check]
may = ["sh", "-c", "echo nothing new; cat '{inputs.i}'; exit CODE"]
inputs.i = { from = "source.o" }
outputs.o = {}
retries = 2

[task.after]
command = 'cat "{inputs.i}" > "{outputs.o}"'
inputs.i = { from = "check.o" }
outputs.o = "build/after"

[task.beside]
command = 'echo beside'
"""
IMAGE = '[defaults]\nimage = "i"\n[image.i]\n'


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.xdist_group("engine"))])
def runtime(request: pytest.FixtureRequest) -> tuple[Project, str]:
    """A project with the plugin, and the runtime that its tasks run under."""
    name = "contained" if request.param == "docker" else "project"
    project: Project = request.getfixturevalue(name)
    project.plugin("may", PLUGIN)
    return project, request.param


def write(project: Project, runtime: str, text: str) -> None:
    project.write("recipe.toml", (IMAGE if runtime == "docker" else "") + text)


@pytest.mark.parametrize("code", [126, 77])
def test_what_says_so_is_skipped(runtime: tuple[Project, str], code: int) -> None:
    project, name = runtime
    write(project, name, RECIPE.replace("CODE", str(code)))
    answer = project.coopery("run", "-r", name, "--json", "--junit", "run.xml", "--fail-fast")
    assert answer.exit_code == 0, answer.stderr
    record: dict[str, Any] = answer.json
    jsonschema.validate(record, record_schema.schema())
    assert record["exit_code"] == 0
    steps = {s["step"]: s for s in record["steps"] if s["kind"] == "task"}
    assert {name: step["state"] for name, step in steps.items()} == {
        "source": "succeeded",
        "check": "skipped",
        "after": "skipped",
        "beside": "succeeded",
    }
    check, after = steps["check"], steps["after"]
    said = f"it said so by exit code {code}"
    assert check["reason"] == {"code": "said-so", "text": said}
    assert after["reason"] == {"code": "skipped", "text": "check skipped"}
    assert check["facts"]["exit_code"] == code and check["facts"]["peak_memory"] is not None
    assert check["started"] and check["ended"] and not after["started"]
    assert check["problems"] == [] and check["outputs"] == {} and check["facts"]["attempts"] == 1
    assert Path(check["log"]).read_text() == "nothing new\n1\n"
    assert project.coopery("logs", "check").stdout == "nothing new\n1\n"
    (line,) = [x for x in answer.stderr.splitlines() if x.startswith("skipped  check")]
    assert line.startswith("skipped  check in ") and line.endswith(f"({said})")
    assert " done, 2 skipped in " in answer.stderr
    assert not project.root.joinpath("build").exists()
    cases = ElementTree.parse(project.root / "run.xml").getroot().iter("testcase")
    told = {case.get("name"): case.find("skipped") for case in cases}
    found = told["check"]
    assert found is not None and found.get("message") == said
    shown = project.coopery("show").stdout
    assert f"because: {said}" in shown and "skipped" in shown
    assert "2 skipped" in project.coopery("status").stdout
    # Nothing is remembered: it is asked again, and what it did not need is not.
    steps = project.run("-r", name)
    assert steps["check"]["state"] == "skipped" and steps["beside"]["cached"]


def test_what_ends_otherwise_fails_or_succeeds(runtime: tuple[Project, str]) -> None:
    """Where the code says nothing, where a signal ends it, and where the command is not there."""
    project, name = runtime
    tasks = {
        "other": '["sh", "-c", "exit 125"]',
        "absent": '["no-such-program"]',
        "unfit": '["/etc/passwd"]',
        "killed": '["sh", "-c", "kill -9 $$"]',
    }
    write(project, name, "".join(f"[task.{n}]\nmay = {words}\n" for n, words in tasks.items()))
    answer = project.coopery("run", "-r", name, "--json")
    assert answer.exit_code == 1, answer.stderr
    steps = {s["step"]: s for s in answer.json["steps"] if s["kind"] == "task"}
    assert {n: (s["state"], s["problems"][0]["slug"]) for n, s in steps.items()} == {
        "other": ("failed", "task-failed"),
        "absent": ("failed", "command-not-found"),
        "unfit": ("failed", "command-not-found"),
        "killed": ("failed", "task-failed"),
    }


def test_with_secrets_too(runtime: tuple[Project, str]) -> None:
    """What hands them over starts the command itself."""
    project, name = runtime
    secrets = 'secrets.TOKEN = { secret = "T", as = "variable" }\n'
    tasks = {"said": '["sh", "-c", "exit 126"]', "unfit": '["/etc/passwd"]', "no": '["no-such"]'}
    text = "".join(f"[task.{n}]\nmay = {words}\n{secrets}" for n, words in tasks.items())
    write(project, name, text)
    answer = project.coopery("run", "-r", name, "--json", env={"T": "sesame-sesame"})
    steps = {s["step"]: s for s in answer.json["steps"] if s["kind"] == "task"}
    assert steps["said"]["state"] == "skipped", json.dumps(steps["said"]["problems"])
    slugs = [s["problems"][0]["slug"] for n, s in steps.items() if n != "said"]
    assert slugs == ["command-not-found"] * 2


def test_made_again_for_its_bytes_it_may_not_say_so(project: Project) -> None:
    """Its reader has not said so, and its result is wanted: that fails."""
    project.plugin("may", PLUGIN)
    project.write(
        "recipe.toml",
        f"""
        [task.first]
        may = ["sh", "-c", "test ! -e {project.root}/said || exit 126; echo 1 > '{{outputs.o}}'"]
        outputs.o = {{ transient = true }}
        [task.second]
        command = 'cat "{{inputs.i}}"'
        inputs.i = {{ from = "first.o" }}
        params.p = 1
        """,
    )
    project.run()
    project.write("said", "")
    answer = project.coopery("run", "--set", "second.p=2", "--json")
    assert answer.exit_code == 1 and answer.slugs == (), answer.stderr
    steps = {s["step"]: s for s in answer.json["steps"]}
    (found,) = steps["second"]["problems"]
    assert found["slug"] == "lost-bytes" and "said so by exit code 126" in found["message"]
