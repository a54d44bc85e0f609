"""A recipe is the same one by whatever path it is named: for runs, results, records and options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coopery.testing import Project, performed

RECIPE = """
[task.first]
command = 'echo 1 > {outputs.o}'
outputs.o = { path = "build/first.txt" }

[task.second]
command = 'test ! -e {inputs.i} || cat {inputs.i} > {outputs.o}'
inputs.i = { from = "first.o" }
outputs.o = "build/second.txt"
"""


@pytest.fixture
def linked(project: Project) -> Project:
    """It ran once, by the plain name; there are a sub-folder, and a link to the project."""
    project.write("recipe.toml", RECIPE)
    (project.root / "sub").mkdir()
    (project.root.parent / "link").symlink_to("project")
    project.run()
    return project


WAYS = ["up", "link", "around"]


def named(way: str, project: Project) -> tuple[str, Path]:
    """What stands after `-f`, and the folder it is typed in."""
    match way:
        case "up":
            return "../recipe.toml", project.root / "sub"
        case "link":
            return "link/recipe.toml", project.root.parent
    return f"{project.root}/sub/../recipe.toml", project.root


@pytest.mark.parametrize("way", WAYS)
def test_its_results_and_runs_are_known(linked: Project, way: str) -> None:
    file, cwd = named(way, linked)
    own = linked.coopery("runs", "--json").json
    runs = linked.coopery("runs", "--json", "-f", file, cwd=cwd).json
    assert [run["run"] for run in runs] == [run["run"] for run in own]
    status = linked.coopery("status", "--json", "-f", file, cwd=cwd).json
    assert status["latest"]["run"] == own[0]["run"]
    linked.write("recipe.toml", RECIPE.replace("echo 1", "echo 11"))
    # `first` is taken from its latest success, and what stands at the destinations is ours.
    steps = linked.run("--only", "second", "--force", "-f", file, cwd=cwd)
    assert performed(steps) == ["second"]
    why = linked.coopery("why", "first", "-f", file, cwd=cwd).stdout
    assert "echo 11" in why
    assert performed(linked.run("-f", file, cwd=cwd)) == ["first", "second"]
    assert performed(linked.run()) == []


@pytest.mark.parametrize("way", WAYS)
def test_its_runs_can_be_stopped(project: Project, way: str) -> None:
    project.write("recipe.toml", "[task.long]\ncommand = 'sleep 60'\n")
    (project.root / "sub").mkdir()
    (project.root.parent / "link").symlink_to("project")
    file, cwd = named(way, project)
    process = project.start("run")
    while not project.coopery("status", "--json").json["running"]:
        assert process.poll() is None
    stopped = project.coopery("stop", "-f", file, cwd=cwd)
    assert stopped.exit_code == 0, stopped.stderr
    assert process.wait() == 130
    process.communicate()


def test_it_is_shown_as_it_was_typed(linked: Project) -> None:
    linked.write("recipe.toml", RECIPE.replace("echo 1", "false"))
    for way in WAYS:
        file, cwd = named(way, linked)
        failed = linked.coopery("run", "-f", file, cwd=cwd)
        assert failed.exit_code == 1
        assert failed.stderr.startswith(f"{file}: runtime")
        again = re.search(r"coopery run.* first$", failed.stderr, re.MULTILINE)
        assert again is not None
        known = "" if way == "up" or cwd == linked.root else f"-f {file} "
        assert again[0] == f"coopery run {known}first"
        shown = linked.coopery("validate", file, cwd=cwd).stdout
        assert shown.startswith(f"{file}: ok")
    folder = linked.coopery("run", "-f", "link", cwd=linked.root.parent)
    assert folder.stderr.startswith("link/recipe.toml: runtime")


def test_outputs_are_targets_by_any_path(linked: Project) -> None:
    """A link on the way to the project, and one within it."""
    (linked.root / "other").symlink_to("build")
    above = linked.root.parent
    for target, cwd in (
        ("link/build/first.txt", above),
        ("project/build/first.txt", above),
        ("other/first.txt", linked.root),
        ("../build/first.txt", linked.root / "sub"),
    ):
        answer = linked.coopery(
            "run", "--dry-run", "--json", "-f", f"{above}/link/recipe.toml", target, cwd=cwd
        )
        assert answer.exit_code == 0, answer.stderr
        assert [step["step"] for step in answer.json["steps"]] == ["first"]


@pytest.mark.parametrize(
    ("file", "cwd"), [("../recipe.toml", "sub"), ("project", ".."), ("link/recipe.toml", "..")]
)
def test_options_are_those_beside_it(linked: Project, file: str, cwd: str) -> None:
    """Not those of the folder where it was typed, nor of those on the way."""
    linked.write("pyproject.toml", "[tool.coopery]\njobs = 3\n")
    linked.write("sub/pyproject.toml", "[tool.coopery]\njobs = 7\n")
    (linked.root.parent / "pyproject.toml").write_text("[tool.coopery]\njobs = 9\n")
    answer = linked.coopery("run", "-f", file, cwd=linked.root / cwd)
    assert "3 at a time" in answer.stderr


def test_a_home_in_the_project_is_no_part_of_it(project: Project) -> None:
    """However the way to it is written: else each run would change the project's wheel."""
    (project.root.parent / "link").symlink_to("project")
    text = '[image.here]\nsources = ["."]\n[task.all]\nimage = "here"\ncommand = "ls"\n'
    project.write("recipe.toml", text)
    env = {"COOPERY_HOME": str(project.root.parent / "link" / "home")}
    assert performed(project.run(env=env)) == ["environment here", "all"]
    assert performed(project.run(env=env)) == []
