"""`cache verify`: reads everything, says what is damaged, and sets it aside when asked to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from coopery.testing import Project, performed

RECIPE = """
[task.make]
command = ["sh", "-c", "echo made > $COOPERY_OUTPUT_X; mkdir $COOPERY_OUTPUT_F; echo 1 > $COOPERY_OUTPUT_F/a"]
outputs.x = "build/x"
outputs.f = {}
[task.read]
command = ["cat", "{inputs.x}"]
inputs.x = { from = "make.x" }
"""  # noqa: E501


@pytest.fixture
def made(project: Project) -> Project:
    """A project that was run twice."""
    project.write("recipe.toml", RECIPE)
    project.run()
    project.run("--force")
    return project


def an_object(project: Project, *, folder: bool = False) -> Path:
    found = sorted(project.home.glob("objects/*/*"))
    return next(path for path in found if path.is_dir() is folder)


def a_file(project: Project) -> Path:
    path = an_object(project)
    path.chmod(0o644)
    path.write_bytes(b"made!")
    return path


def a_folder(project: Project) -> Path:
    path = an_object(project, folder=True)
    (path / "more").write_text("x")
    return path


def a_stranger(project: Project) -> Path:
    path = project.home / "objects" / "ab" / "stranger"
    path.write_text("x")
    return path


def a_record(project: Project) -> Path:
    path = max((project.home / "runs").iterdir()) / "record.json"
    path.write_text('{"state": ')
    return path.parent


def a_line(project: Project) -> None:
    path = project.home / "records" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b"result", b"resolt")
    path.write_bytes(b"".join(lines))


def a_row(project: Project) -> None:
    with sqlite3.connect(project.home / "index.sqlite") as connection:
        connection.execute("UPDATE results SET rest = x'5b5d' WHERE step = 'make'")
    connection.close()


def a_missing_row(project: Project) -> None:
    with sqlite3.connect(project.home / "index.sqlite") as connection:
        connection.execute("DELETE FROM results WHERE step = 'make'")
    connection.close()


def test_what_is_whole_is_said_to_be(made: Project) -> None:
    answer = made.coopery("cache", "verify", "--json")
    assert answer.exit_code == 0, answer.stdout
    assert answer.json["whole"] and answer.json["damages"] == []
    assert answer.json["checked"] == {"results": 2, "objects": 2, "runs": 2}
    assert "all is whole" in made.coopery("cache", "verify").stdout


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (a_file, "object"),
        (a_folder, "object"),
        (a_stranger, "object"),
        (a_record, "run"),
        (a_line, "journal"),
        (a_row, "index"),
        (a_missing_row, "index"),
    ],
)
def test_damage_is_told_then_set_aside_and_nothing_else_is_lost(
    made: Project, damage: Callable[[Project], Path | None], kind: str
) -> None:
    path = damage(made)
    for _ in range(2):
        answer = made.coopery("cache", "verify", "--json")
        assert answer.exit_code == 3
        (found,) = answer.json["damages"]
        assert found["kind"] == kind and not found["mended"]
        if path is not None:
            assert found["what"] == str(path.relative_to(made.home)) and path.exists()
    repaired = made.coopery("cache", "verify", "--repair")
    assert repaired.exit_code == 0 and "(mended)" in repaired.stdout
    assert path is None or not path.exists()
    assert made.coopery("cache", "verify").exit_code == 0
    again = made.run()
    assert performed(again) == [], "the records are all there"
    assert made.read("build/x") == "made\n"


def test_a_damaged_object_is_made_anew_when_it_is_needed(made: Project) -> None:
    a_file(made)
    assert made.coopery("cache", "verify", "--repair").exit_code == 0
    (made.root / "build" / "x").unlink()
    assert performed(made.run()) == ["make"]
    assert made.read("build/x") == "made\n"


def test_damage_that_was_only_told_is_not_served_either(made: Project) -> None:
    """A flipped bit that size and time do not show."""
    path = an_object(made)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"mabe\n")
    import os

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(0o444)
    assert made.coopery("cache", "verify").exit_code == 3
    (made.root / "build" / "x").unlink()
    assert performed(made.run()) == ["make"]
    assert made.read("build/x") == "made\n"


def test_an_index_that_is_no_database_is_made_anew_and_told(made: Project) -> None:
    (made.home / "index.sqlite").write_bytes(b"nothing" * 200)
    answer = made.coopery("cache", "verify", "--json")
    assert answer.exit_code == 0
    assert [(d["kind"], d["mended"]) for d in answer.json["damages"]] == [("index", True)]
    assert performed(made.run()) == []


def test_an_environment_that_lost_files_is_damaged(project: Project) -> None:
    project.write("recipe.toml", '[image.e]\n[task.a]\nimage = "e"\ncommand = ["true"]\n')
    project.run()
    (place,) = (p for p in (project.home / "places").iterdir() if p.is_dir())
    assert project.coopery("cache", "verify").exit_code == 0
    (place / "pyvenv.cfg").unlink()
    answer = project.coopery("cache", "verify")
    assert answer.exit_code == 3 and "1 of its" in answer.stdout
    assert project.coopery("cache", "verify", "--repair").exit_code == 0
    assert "environment" in str(performed(project.run("--force")))
    assert (place / "pyvenv.cfg").exists()
    assert project.coopery("cache", "verify").exit_code == 0


def test_options_that_do_not_go_together_are_refused(project: Project) -> None:
    for arguments in (("verify", "--dry-run"), ("info", "--repair"), ("gc", "--repair")):
        answer = project.coopery("cache", *arguments)
        assert answer.exit_code == 2 and answer.slugs == ("bad-command-line",)
    for arguments in (("--budget", "much"), ("--older-than", "1"), ("--keep-runs", "0")):
        answer = project.coopery("cache", "gc", *arguments)
        assert answer.exit_code == 2 and answer.slugs == ("bad-option",), answer.stderr
    answer = project.coopery("cache", "gc", env={"COOPERY_CACHE_BUDGET": "-1Gi"})
    assert answer.exit_code == 2 and "cache-budget" in answer.stderr
    assert project.coopery("cache", "shrink").exit_code == 2
