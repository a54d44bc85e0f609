"""What a recipe remembers is its own, and what one recipe drops another one keeps."""

from __future__ import annotations

from pathlib import Path

from coopery.testing import Project, make_project


def pair(folder: Path) -> tuple[Project, Project]:
    """Two projects that share a home folder."""
    first = make_project(folder)
    root = folder / "other"
    root.mkdir()
    return first, Project(root=root, home=first.home)


PASSING = """
    [task.make]
    command = "echo same > $COOPERY_OUTPUT_O"
    outputs.o = { name = "o", transient = true }
    [task.read]
    command = "cat $COOPERY_INPUT_I"
    inputs.i = { from = "make.o" }
"""
LASTING = """
    [task.keep]
    command = "printf 'same\\n' > $COOPERY_OUTPUT_O"
    outputs.o = {}
"""


def test_a_transient_output_leaves_the_same_bytes_to_another_recipe(tmp_path: Path) -> None:
    passing, lasting = pair(tmp_path)
    lasting.write("recipe.toml", LASTING)
    lasting.run()
    passing.write("recipe.toml", PASSING)
    passing.run()
    assert lasting.coopery("get", "keep.o", "copy").exit_code == 0
    assert lasting.read("copy") == "same\n"
    assert passing.coopery("run", "--force", "read").exit_code == 0


def test_an_output_that_is_transient_no_more_is_kept(tmp_path: Path) -> None:
    passing, other = pair(tmp_path)
    passing.write("recipe.toml", PASSING)
    passing.run("make")  # without its reader it stays
    other.write("recipe.toml", PASSING.replace(", transient = true", ""))
    assert other.run("make")["make"]["cached"]
    passing.run()
    assert other.coopery("get", "make.o", "copy").exit_code == 0


def test_an_output_that_is_transient_goes_when_its_readers_have_ended(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.write("recipe.toml", PASSING)
    project.run("make")
    assert project.coopery("get", "make.o", "one").exit_code == 0
    project.run()
    assert "output-gone" in project.coopery("get", "make.o", "two").slugs


def test_a_skipped_reader_has_not_ended(tmp_path: Path) -> None:
    """It will want the bytes in the next run, which need not make them again."""
    project = make_project(tmp_path)
    recipe = """
        [task.make]
        command = "echo x >> ../made; echo x > $COOPERY_OUTPUT_O"
        outputs.o = { name = "o", transient = true }
        [task.broken]
        command = "test -e %s && touch $COOPERY_OUTPUT_O"
        outputs.o = {}
        [task.read]
        command = "true"
        inputs.i = { from = "make.o" }
        inputs.b = { from = "broken.o" }
    """
    project.write("recipe.toml", recipe % (project.root / "there"))
    answer = project.coopery("run", "--json")
    assert {s["step"]: s["state"] for s in answer.json["steps"]} == {
        "make": "succeeded",
        "broken": "failed",
        "read": "skipped",
    }
    project.write("there", "")
    steps = project.run()
    assert steps["make"]["cached"] and not steps["read"]["cached"]


def test_reasons_compare_with_the_same_recipe(tmp_path: Path) -> None:
    """Another project's task of the same name is no earlier result of this one's."""
    first, second = pair(tmp_path)
    first.write("recipe.toml", '[task.a]\ncommand = "echo first"\n')
    second.write("recipe.toml", '[task.a]\ncommand = "echo second"\n')
    first.run()
    assert second.run()["a"]["reason"]["code"] == "new"
    second.write("recipe.toml", '[task.a]\ncommand = "echo third"\n')
    reason = second.run()["a"]["reason"]
    assert reason["code"] == "changed" and "second" in reason["text"]


def test_a_recalled_result_is_the_latest_too(tmp_path: Path) -> None:
    """After going back and forth, a reason compares with what was last there."""
    project = make_project(tmp_path)

    def run(word: str) -> dict[str, str]:
        project.write("recipe.toml", f'[task.a]\ncommand = ["echo", "{word}"]\n')
        reason: dict[str, str] = project.run()["a"]["reason"]
        return reason

    run("one")
    run("two")
    assert run("one")["code"] == "cached"
    text = run("three")["text"]
    assert "one" in text and "two" not in text
