"""`coopery build`: images without tasks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coopery.testing import Project

RECIPE = """
[image.small]
wheels = []
env.A = "1"

[image.other]
env.A = "2"

[task.a]
image = "small"
command = "echo $A > {outputs.o}"
outputs.o = "o"
"""


@pytest.fixture
def built(project: Project) -> Project:
    project.write("recipe.toml", RECIPE)
    return project


def test_every_image_or_those_named_are_made(built: Project) -> None:
    found = built.coopery("build", "small", "--json")
    assert found.exit_code == 0, found.stderr
    steps = {step["step"]: step for step in found.json["steps"]}
    assert list(steps) == ["environment small"] and not steps["environment small"]["cached"]
    told = built.coopery("build")
    assert told.exit_code == 0
    first, second = told.stdout.split("\n\n")
    assert first.splitlines()[0].split() == ["IMAGE", "small", "STATE", "TIME", "SIZE"]
    assert first.splitlines()[1].split() == ["environment", "small", "cached"]
    # The two differ in nothing but a variable, which is no part of an environment.
    assert second.splitlines()[1].split()[:3] == ["environment", "other", "cached"]
    assert not (built.root / "o").exists()


def test_what_is_gone_is_made_again_and_force_makes_it_anew(built: Project) -> None:
    built.coopery("build", "small")
    places = [path.parent for path in built.home.rglob("pyvenv.cfg")]
    assert len(places) == 1
    shutil.rmtree(places[0])
    assert "built" in built.coopery("build", "small").stdout
    assert Path(places[0] / "bin/python").exists()
    forced = built.coopery("build", "small", "--force")
    assert "built" in forced.stdout and "--force" in forced.stderr


def test_equal_images_are_forced_once(built: Project) -> None:
    """The two are one environment: the first to come makes it anew, for both."""
    built.coopery("build")
    forced = built.coopery("build", "--force")
    assert forced.exit_code == 0, forced.stderr
    states = sorted(part.splitlines()[1].split()[2] for part in forced.stdout.split("\n\n"))
    assert states == ["built", "cached"]


def test_an_unknown_image_is_told_with_the_nearest_name(built: Project) -> None:
    found = built.coopery("build", "smal", "othr")
    assert found.exit_code == 2
    assert found.stderr.count("[unknown-image]") == 2
    assert "did you mean 'small'?" in found.stderr and "did you mean 'other'?" in found.stderr


def test_a_failure_is_the_exit_code(built: Project) -> None:
    built.write("recipe.toml", '[image.small]\npython = "3.99"\n')
    found = built.coopery("build")
    assert found.exit_code == 3 and "[python-missing]" in found.stderr
    assert "failed" in found.stdout
