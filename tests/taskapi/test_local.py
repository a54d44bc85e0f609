"""Tasks of templates under `local`: with programs of this machine, at the places they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

from .conftest import Bench
from .documents import put, write

HEAD = """
[image.shapes]
specification = "spec.json"
[task.a]
template = "shapes#copy"
inputs.shapes = "data"
outputs.copies = "out"
"""
SPECIFICATION: dict[str, Any] = {
    "name": "shapes",
    "description": "x",
    "templates": [
        {
            "identifier": "copy",
            "description": "x",
            "env": [{"name": "MODE", "value": "fast"}],
            "inputs": [{"name": "shapes", "mounted_path": "/data/shapes"}],
            "outputs": [{"name": "copies", "mounted_path": "/data/copies"}],
            "command": [
                *("sh", "-c"),
                "cp /data/shapes/* /data/copies; echo $MODE; ls /data; touch /data/shapes/x || :",
            ],
        }
    ],
}


@pytest.fixture
def shapes(project: Project) -> Project:
    """A project with a task of a template of an image of its own."""
    write(project.root / "spec.json", SPECIFICATION)
    project.write("data/a.txt", "abc\n")
    project.write("recipe.toml", HEAD)
    return project


def test_channels_are_where_the_template_says(shapes: Project) -> None:
    log = Path(shapes.run()["a"]["log"]).read_text()
    assert log.startswith("fast\ncopies\nshapes\n") and "Read-only file system" in log
    assert shapes.read("out/a.txt") == "abc\n"
    assert not Path("/data").exists() or not Path("/data/shapes").exists()


def test_where_mounts_are_not_allowed(shapes: Project) -> None:
    """It is told; nothing is run at other places."""
    shapes.plugin("nomounts", NO_MOUNTS)
    answer = shapes.coopery("run", "--json")
    assert answer.exit_code == 3, answer.stderr
    step = next(step for step in answer.json["steps"] if step["step"] == "a")
    assert [found["slug"] for found in step["problems"]] == ["no-mounts"]
    assert "-r docker" in answer.stderr and not (shapes.root / "out").exists()


NO_MOUNTS = """
from coopery_local import processes, tasks
tasks.has_mounts = processes.has_mounts = lambda: False
"""
"""As on a machine that lets nobody mount."""


@pytest.mark.parametrize("place", ["/etc", "/usr/share", "/proc/x", "/home"])
def test_places_that_hide_the_system(shapes: Project, place: str) -> None:
    path = "/templates/0/inputs/0/mounted_path"
    write(shapes.root / "spec.json", put(SPECIFICATION, path, place))
    answer = shapes.coopery("run")
    assert answer.exit_code in (1, 2) and "[bad-mount]" in answer.stderr, answer.stderr
    assert not (shapes.root / "out").exists()


def test_places_that_hide_the_project(shapes: Project) -> None:
    """The folder in which the task's own files are."""
    path = "/templates/0/inputs/0/mounted_path"
    write(shapes.root / "spec.json", put(SPECIFICATION, path, str(shapes.home)))
    answer = shapes.coopery("run")
    assert answer.exit_code in (1, 2) and "[bad-mount]" in answer.stderr, answer.stderr
    assert "use -r docker" in answer.stderr


def test_a_template_without_a_command(shapes: Project) -> None:
    write(shapes.root / "spec.json", put(SPECIFICATION, "/templates/0/command", ...))
    assert shapes.coopery("run").slugs == ("no-command",)
    use = 'template = { name = "shapes#copy", command = ["cp", "-r", "{inputs.shapes}/.", \
"{outputs.copies}"] }'
    shapes.write("recipe.toml", HEAD.replace('template = "shapes#copy"', use))
    shapes.run()
    assert shapes.read("out/a.txt") == "abc\n"


@pytest.mark.xdist_group("taskapi-probes")
def test_a_task_json_with_programs_of_this_machine(bench: Bench) -> None:
    """The image only says what its templates are; that it is not used is told."""
    command = ["sh", "-c", "cp -r /data/texts/. /data/copies; echo $MODE $PWD"]
    task = bench.task(command=command, env=[{"name": "MODE", "value": "exact"}])
    answer = bench.coopery(task, "-r", "local")
    assert answer.exit_code == 0, answer.stderr
    assert "[image-not-used]" in answer.stderr and "use -r docker" in answer.stderr
    assert "task.json:3 (/image)" in answer.stderr
    assert (bench.out / "deep/b.txt").read_text() == "b" * 20
    (step,) = (step for step in answer.json["steps"] if step["kind"] == "task")
    assert Path(step["log"]).read_text().startswith("exact /")
    assert step["facts"]["scaled"]["limit"] == 64 << 20


@pytest.mark.xdist_group("taskapi-probes")
def test_a_mix_of_tasks_needs_the_image(bench: Bench) -> None:
    """Where another task runs in the image itself, `local` cannot do without."""
    text = f"""
    [image.probes]
    prebuilt = "{bench.image}"
    [task.a]
    template = "probes#look"
    [task.b]
    image = "probes"
    command = "true"
    """
    bench.project.write("recipe.toml", text)
    assert bench.project.coopery("run", "-r", "local").slugs == ("prebuilt-image",)


@pytest.mark.xdist_group("taskapi-probes")
def test_one_recipe_under_both_runtimes(bench: Bench) -> None:
    """Of an image that is used as it is, with a command that this machine has, too."""
    text = f"""
    [task.a]
    template.name = "{bench.image}#copy"
    template.command = ["sh", "-c", "cp -r {{inputs.texts}}/. {{outputs.copies}}; echo $DEPTH"]
    inputs.texts = "data"
    outputs.copies = "out"
    """
    seen = []
    for runtime in ("local", "docker"):
        bench.project.write("recipe.toml", text)
        step = bench.project.run("-r", runtime, "--force")["a"]
        files = sorted((bench.project.root / "out").rglob("*.txt"))
        seen.append(
            (step["command"], Path(step["log"]).read_text(), [f.read_bytes() for f in files])
        )
    assert seen[0] == seen[1] and seen[0][1] == "2\n"
