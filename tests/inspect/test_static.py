"""The commands that need neither store nor lock."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from .conftest import Project


def test_list_tells_tasks_with_instances_and_marks_the_unpinned(project: Project) -> None:
    text = project("list").stdout
    rows = [line.split(maxsplit=1) for line in text.splitlines()]
    assert rows[1] == ["prep", "1          host (unpinned)  Copy the"]
    assert rows[2] == ["fit", "2 (fold)   host (unpinned)"]
    document = project.json("list")
    assert [task["name"] for task in document["tasks"]] == ["prep", "fit", "score"]
    assert document["tasks"][1]["instances"] == ["fit@fold=0", "fit@fold=1"]
    assert document["tasks"][1]["matrix"] == {"fold": [0, 1]}
    assert not project.home.exists()


def test_list_tells_images_and_who_uses_them(project: Project) -> None:
    project.edit("[task.fit]\n", '[image.tools]\npython = "3.12"\n[task.fit]\nimage = "tools"\n')
    document = project.json("list")
    assert document["images"] == [
        {"name": "tools", "description": None, "python": "3.12", "tasks": ["fit"]}
    ]
    assert document["tasks"][1]["notes"] == []
    assert "tools  3.12" in project("list").stdout


def test_validate(project: Project) -> None:
    assert project("validate").stdout == "recipe.toml: ok (3 tasks, 4 instances, 0 images)\n"
    assert project.json("validate", "recipe.toml")["ok"] is True
    project.edit('inputs.raw = "raw.txt"', 'inputs.raw = "rav.txt"\nretires = 1')
    ended = project("validate", "recipe.toml", code=2)
    assert ended.stdout == "" and "[unknown-key]" in ended.stderr
    document = project.json("validate", "recipe.toml", code=2)
    assert document["ok"] is False
    assert [(p["slug"], p["line"]) for p in document["problems"]] == [
        ("missing-input", 5),
        ("unknown-key", 6),
    ]
    found = document["problems"][1]
    assert found["file"] == str(project.root / "recipe.toml")
    assert found["key"] == "task.prep.retires" and "retries" in found["hint"]


def test_validate_takes_the_file_either_way(project: Project, tmp_path: Path) -> None:
    assert project.json("validate", "missing.toml", code=2)["problems"][0]["slug"] == "no-recipe"
    project("validate", "-f", "recipe.toml")
    assert "two recipes" in project("validate", "a.toml", "-f", "recipe.toml", code=2).stderr


@pytest.mark.parametrize("flags", [(), ("--python",)])
def test_init_writes_what_runs(tmp_path: Path, flags: tuple[str, ...]) -> None:
    fresh = Project(tmp_path, tmp_path / "home")
    name = fresh("init", *flags).stdout.strip()
    assert name == ("recipe.py" if flags else "recipe.toml")
    fresh("run")
    assert (tmp_path / "build/greeting.txt").read_text() == "Hello, world!\n"
    assert int((tmp_path / "build/count.txt").read_text()) == 14
    before = (tmp_path / name).read_bytes()
    for again in ((), ("--python",)):
        assert "[recipe-exists]" in fresh("init", *again, code=2).stderr
    assert (tmp_path / name).read_bytes() == before


def test_plugins_names_module_distribution_and_hooks(project: Project) -> None:
    found = {plugin["name"]: plugin for plugin in project.json("plugins")}
    assert found["inspect"]["module"] == "coopery_inspect"
    assert found["inspect"]["distribution"] == "coopery"
    assert found["inspect"]["hooks"] == ["add_commands"]
    assert "toml" in found
    assert "toml" not in project("--without", "toml", "plugins").stdout.split()


def test_schema_accepts_a_recipe_and_refuses_a_typo(project: Project) -> None:
    schema = json.loads(project("schema").stdout)
    recipe = tomllib.loads((project.root / "recipe.toml").read_text())
    jsonschema.validate(recipe, schema)
    recipe["task"]["fit"]["retires"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, schema)
