"""Literals that look like credentials: told by every command that checks, stopped by none."""

from __future__ import annotations

import pytest

from coopery.testing import Project

LITERALS = ("swordfish1", "swordfish2", "swordfish3", "swordfish4", "a1b2c3d4e5")
RECIPE = """
[defaults]
env.API_KEY = "a1b2c3d4e5"

[image.i]
env.DB_PASSWORD = "swordfish1"

[task.a]
params.password = "swordfish2"
command = ["true", "--password", "swordfish3"]

[task.b]
command = "true --url redis://:swordfish4@host"

[task.c]
pass_env = ["DB_PASSWORD"]
command = 'true "$DB_PASSWORD"'
"""
WARNED = {
    (2, "defaults.env.API_KEY"),
    (5, "image.i.env.DB_PASSWORD"),
    (8, "task.a.params.password"),
    (9, "task.a.command[2]"),
    (12, "task.b.command"),
}


@pytest.mark.parametrize("command", ["validate", "run", "run --dry-run"])
def test_told_on_stderr_with_place_and_mend(project: Project, command: str) -> None:
    project.write("recipe.toml", RECIPE)
    answer = project.coopery(*command.split())
    assert answer.exit_code == 0, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.startswith("warning: ")]
    assert len(lines) == len(WARNED) and all("[credential-literal]" in line for line in lines)
    for number, key in WARNED:
        assert any(f"recipe.toml:{number} ({key}): " in line for line in lines), answer.stderr
    assert 'secrets.TOKEN = { secret = "NAME" }' in answer.stderr
    assert not [text for text in LITERALS if text in answer.stdout + answer.stderr]


def test_validate_has_them_in_json(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    answer = project.coopery("validate", "--json")
    assert answer.exit_code == 0 and answer.stderr == ""
    assert answer.json["ok"] and answer.json["problems"] == []
    assert {(w["line"], w["key"]) for w in answer.json["warnings"]} == WARNED
    assert {w["slug"] for w in answer.json["warnings"]} == {"credential-literal"}
    assert not [text for text in LITERALS if text in answer.stdout]


def test_a_dry_run_keeps_its_document_clean(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    answer = project.coopery("run", "--dry-run", "--json")
    assert [step["step"] for step in answer.json["steps"]] == ["a", "b", "c"]
    assert answer.stderr.count("[credential-literal]") == len(WARNED)


def test_a_function_with_its_file_and_line(project: Project) -> None:
    text = 'from coopery import task\n\n@task\ndef f():\n    password = "swordfish1"\n'
    project.write("recipe.py", text)
    answer = project.coopery("validate")
    assert answer.exit_code == 0, answer.stderr
    assert "recipe.py:5 (task.f.function): this looks like a password" in answer.stderr
    assert "swordfish1" not in answer.stderr + answer.stdout


def test_a_good_recipe_has_no_warnings(project: Project) -> None:
    project.write("recipe.toml", '[task.a]\ncommand = ["true", "--tokens", "2048"]\n')
    answer = project.coopery("validate", "--json")
    assert answer.json["warnings"] == []
    assert "warning" not in project.coopery("validate").stderr
