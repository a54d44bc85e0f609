"""A frozen recipe says of each task what the recipe said, whatever the defaults were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from coopery import expanding, recipes
from coopery.model import Task
from coopery.plugins import Plugins
from coopery.testing import Project
from coopery_publish.fetching import load
from coopery_publish.freezing import freeze

from .conftest import DIGEST

IMAGE = f'{{ reference = "q.example/x@{DIGEST}", platform = "linux/amd64" }}'
RECIPE = f"""
[defaults]
image = "i"
env.WIDE = "all"
pass_env = ["LC_TIME"]
resources = {{ memory = "512Mi", license = 1 }}
retries = {{ count = 2, delay = "3s", on = [3, "timeout"] }}
timeout = "90s"

[image.i]
prebuilt = {IMAGE}

[task.one]
command = "echo {{params.depth}} {{{{}}}} > {{outputs.o}}; cat {{inputs.raw}}"
inputs.raw = {{ path = "data/{{matrix.fold}}.txt", mount = "/in/raw.txt" }}
outputs.o = "out/{{matrix.fold}}.txt"
outputs.p = {{ name = "p.bin", transient = true }}
outputs.q = "deep/{{matrix.fold}}/"
matrix.fold = ["a", "b"]
params = {{ depth = 3, ratio = 0.5, names = ["x", 1, true], more = {{ k = "v" }} }}
secrets.token = {{ secret = "API_TOKEN", rotation = 2, as = "variable" }}
priority = 3
description = "the first"
container = {{ network = "none", capabilities = ["NET_RAW"] }}

[task.two]
command = ["cat", "{{inputs.all}}", "{{inputs.one}}", "{{inputs.made}}"]
inputs.all = {{ from = "one.o" }}
inputs.one = {{ from = "one.p", at = {{ fold = "a" }} }}
inputs.made = "out/b.txt"
always = true
retries = 0
resources = {{ cpu = 0.5 }}
"""


def test_tasks_are_the_same_when_they_are_read_again(project: Project, tmp_path: Path) -> None:
    project.write("data/a.txt", "a")
    project.write("data/b.txt", "b")
    project.write("recipe.toml", RECIPE)
    plugins = Plugins.discover()
    recipe = recipes.read(project.root / "recipe.toml", plugins)
    nodes, problems = expanding.expand(recipe)
    assert not problems
    frozen = freeze(recipe, nodes, {"one", "two"}, plugins)
    assert sorted(frozen.inputs) == ["data/a.txt", "data/b.txt"]
    tables = {
        "defaults": {"runtime": "docker"},
        "image": {"i": {"prebuilt": {"reference": f"q.example/x@{DIGEST}",
                                     "platform": "linux/amd64"}}},
        "task": frozen.tables,
    }  # fmt: skip
    file = tmp_path / "recipe.bundle"
    file.write_text(json.dumps({"version": 1, "recipe": tables}))
    again = recipes.read(file, plugins, (), load(file), tmp_path / "here")

    def in_order(task: Task) -> Task:
        return replace(task, facets=tuple(sorted(task.facets, key=repr)))

    for name, task in recipe.tasks.items():
        assert in_order(again.tasks[name]) == in_order(task)
    assert again.images == recipe.images
    (tmp_path / "project/data").mkdir(parents=True, exist_ok=True)
    found, problems = expanding.expand(again)
    assert not problems
    assert sorted(found) == sorted(nodes)
    delivered = found["one@fold=a"].outputs["o"].destination
    assert delivered == tmp_path / "here/out/a.txt"
    assert found["two"].parents == nodes["two"].parents


@pytest.mark.parametrize("value", ["inf", "nan", "1979-05-27"])
def test_what_json_cannot_hold_is_told(project: Project, value: str) -> None:
    task = f'[task.t]\nimage = "i"\ncommand = ["true"]\nparams.x = {value}\n'
    project.write("recipe.toml", f"[image.i]\nprebuilt = {IMAGE}\n{task}")
    answer = project.coopery("publish", "--to", "localhost:1/x/y")
    assert answer.exit_code in (2, 3) and len(answer.slugs) == 1, answer.stderr
    assert "Traceback" not in answer.stderr
