"""The commands that messages offer do what they say: told what the run was told, and no more."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from coopery.testing import Project, performed

RECIPE = """
[task.a]
params.c = 1
command = 'echo {params.c} > {outputs.o}'
outputs.o = {}
resources = { license = 1 }

[task.b]
params.code = 0
command = 'cat {inputs.i}; exit {params.code}'
inputs.i = { from = "a.o" }
resources = { dongle = 1 }

[task.other]
params.x = 1
command = 'exit {params.x}'
"""


@pytest.fixture
def project(project: Project) -> Project:
    """A recipe that is only found when it is named."""
    project.write("r.toml", RECIPE)
    return project


def offered(text: str, before: str) -> list[str]:
    """The command that stands after these words, less `coopery`."""
    found = re.search(rf"{before} *coopery (.*)$", text, re.MULTILINE)
    assert found is not None, text
    return shlex.split(found[1])


def test_what_was_never_made_is_made_by_the_hint(project: Project) -> None:
    told = ["-f", "r.toml", "--capacity", "license=1", "--capacity", "dongle=1", "--set", "a.c=0"]
    only = ["run", *told, "--set", "other.x=0", "--only", "b"]
    for extra in ([], ["--dry-run"]):
        refused = project.coopery(*only, *extra)
        hint = offered(refused.told("not-made"), "make it:")
        assert hint == ["run", "-f", "r.toml", "--set", "a.c=0", "--capacity", "license=1", "a"]
    assert project.coopery(*hint).exit_code == 0
    answer = project.coopery(*only, "--json")
    assert answer.exit_code == 0 and answer.json["supplied"][0]["stale"] is False


def test_a_failed_task_is_run_again_with_what_concerns_it(project: Project) -> None:
    capacity = ["--capacity", "license=1", "--capacity", "dongle=1"]
    failed = project.coopery(
        *("run", "-f", "r.toml", "--without", "report", *capacity, "-k"),
        *("--set", "other.x=3", "--set", "b.code=4", "--set", "a.c=2"),
    )
    assert failed.exit_code == 1
    others = offered(failed.stderr.partition("other")[2], "run it again:")
    assert others == ["run", "-f", "r.toml", "--without", "report", "--set", "other.x=3", "other"]
    again = ["run", "-f", "r.toml", "--without", "report"]
    again += ["--set", "b.code=4", "--set", "a.c=2", *capacity, "b"]
    assert shlex.join(["coopery", *again]) in failed.stderr
    tried = project.coopery(*again, "--json")
    assert performed({s["step"]: s for s in tried.json["steps"]}) == ["b"]


def test_needs_that_were_left_alone_stay_so(project: Project) -> None:
    project.write("recipe.toml", RECIPE.replace("resources", "#"))
    project.run("a")
    project.write("recipe.toml", RECIPE.replace("resources", "#").replace("echo", "echo new"))
    for words, want in (
        ("--only b", "--only --set b.code=5 b"),
        ("--downstream b", "--only --set b.code=5 b"),
        ("b", "--set b.code=5 b"),
    ):
        failed = project.coopery("run", *words.split(), "--set", "b.code=5")
        assert offered(failed.stderr, "run it again:") == ["run", *want.split()]


def test_what_is_stale_and_lost_is_made_by_the_hint(project: Project, tmp_path: Path) -> None:
    text = RECIPE.replace("resources", "#")
    project.write("recipe.toml", text)
    project.run("a")
    project.write("recipe.toml", text.replace("echo", "echo new"))
    assert project.coopery("cache", "gc", "--budget", "0", "--older-than", "0").exit_code == 0
    failed = project.coopery("run", "--only", "b", "--set", "a.c=7", "--set", "other.x=1")
    hint = offered(failed.stderr.partition("lost-bytes")[2], "make it anew:")
    assert hint == ["run", "--set", "a.c=7", "a"]
