"""Images that are used as they are: what may not stand beside, and where they cannot run."""

from __future__ import annotations

import pytest

from coopery.testing import Project

DIGEST = "sha256:" + "7" * 64
TASK = '\n[task.a]\nimage = "i"\ncommand = ["true"]\n'


def test_nothing_stands_beside_it_and_all_is_told_at_once(project: Project) -> None:
    project.write(
        "recipe.toml",
        '[image.i]\nprebuilt = "a/b:1"\npackages = ["x"]\nbase = "c"\nsources = ["recipe.toml"]\n'
        'env.X = "may"\n' + TASK,
    )
    answer = project.coopery("list", "-r", "docker")
    assert answer.exit_code == 2
    assert answer.slugs == ("prebuilt-alone",) * 3, answer.stderr
    for line, key in ((3, "packages"), (4, "base"), (5, "sources")):
        assert f"recipe.toml:{line} (image.i.{key})" in answer.stderr


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ('"A/B"', "bad-reference"),
        ('{ reference = "a/b:1", platform = "linux/amd64" }', "wrong-value"),
        ('{ reference = "a/b:1", executable = "/x" }', "wrong-value"),
        ('{ referense = "a/b:1" }', "unknown-key"),
        ("3", "wrong-type"),
    ],
)
def test_what_names_no_image(project: Project, value: str, slug: str) -> None:
    project.write("recipe.toml", f"[image.i]\nprebuilt = {value}\n" + TASK)
    answer = project.coopery("list", "-r", "docker")
    assert answer.exit_code == 2 and slug in answer.slugs, answer.stderr


def test_the_local_runtime_refuses_it_with_the_mend(project: Project) -> None:
    project.write("recipe.toml", '[image.i]\nprebuilt = "a/b:1"\n' + TASK)
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert "-r docker" in answer.told("prebuilt-image")


def test_its_dockerfile_is_its_name(project: Project) -> None:
    reference = f'{{ reference = "a.example/b@{DIGEST}", platform = "linux/amd64" }}'
    project.write("recipe.toml", f"[image.i]\nprebuilt = {reference}\n" + TASK)
    answer = project.coopery("dockerfile", "i")
    assert answer.exit_code == 0, answer.stderr
    assert f"FROM a.example/b@{DIGEST}" in answer.stdout
    assert not (project.root / "recipe.lock").exists()


@pytest.mark.parametrize(
    ("entry", "slug"),
    [
        ('{ host = "https://h.example", username = "u", password = { secret = "P" } }',
         "wrong-value"),
        ('{ host = "h.example/x", username = "u", password = { secret = "P" } }', "wrong-value"),
        ('{ host = "h.example", username = "u", password = "clear" }', "secret-as-text"),
        ('{ host = "h.example", username = "u" }', "missing-key"),
        ('{ host = "h.example", username = "u", passwort = { secret = "P" } }', "unknown-key"),
        ('{ host = "h.example", username = "u", password = { secret = "P", rotation = 2 } }',
         "wrong-value"),
        ('{ host = "h.example", username = "u", password = { secret = "P" } }, '
         '{ host = "h.example", username = "v", password = { secret = "P" } }', "duplicate-value"),
    ],
)  # fmt: skip
def test_wrong_logins(project: Project, entry: str, slug: str) -> None:
    project.write("recipe.toml", f"registries = [{entry}]\n" + '[task.a]\ncommand = ["true"]\n')
    answer = project.coopery("list")
    assert answer.exit_code == 2 and slug in answer.slugs, answer.stderr
    assert "clear" not in answer.stderr


def test_logins_of_a_recipe_in_python(project: Project) -> None:
    project.write(
        "recipe.py",
        """
        from coopery import command, registries, secret
        registries(
            {"host": "h.example", "username": "u", "password": secret("P")},
            {"host": "h.example/x", "username": "u", "password": secret("P")},
        )
        command("a", ["true"])
        """,
    )
    answer = project.coopery("list")
    assert answer.exit_code == 2 and answer.slugs == ("wrong-value",), answer.stderr
    assert "registries[1].host" in answer.stderr and "recipe.py:2" in answer.stderr
