"""What is printed is what is published, and what hints name is the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Project

DOCS = Path(__file__).parents[2] / "docs/reference"


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        ("recipe.schema.json", []),
        ("recipe.schema.json", ["--json"]),
        ("record.schema.json", ["--record"]),
    ],
)
def test_schemas_are_printed_byte_for_byte(project: Project, file: str, flags: list[str]) -> None:
    assert project("schema", *flags).stdout == (DOCS / file).read_text("utf-8")


def test_an_unknown_run_is_answered_with_the_latest_of_this_recipe(
    project: Project, tmp_path: Path
) -> None:
    project("run")
    own = project.json("run")["run"]
    other = Project(tmp_path / "other", project.home)
    other.root.mkdir()
    (other.root / "recipe.toml").write_text("[task.a]\ncommand = 'true'\n")
    other("run")
    for call in (["show", "nope"], ["logs", "prep", "--run", "nope"], ["status", "nope"]):
        assert f"the latest is {own}" in project(*call, code=2).stderr


def test_a_run_has_its_source_when_something_was_performed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=project.root, check=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    source = project.json("run", "prep")["source"]
    assert source["dirty"] is False and len(source["commit"]) == 40
    assert project.json("run", "prep")["source"] is None  # nothing was performed
    (project.root / "raw.txt").write_text("other\n")
    assert project.json("run", "prep")["source"] == source | {"dirty": True}
