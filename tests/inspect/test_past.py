"""`logs`, `show` and `get`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .conftest import Project


def test_logs_of_one_and_of_several(project: Project) -> None:
    first = project.json("run")["run"]
    project("run")  # all cached: the logs are those of the run that made the results
    one = project("logs", "prep")
    assert one.stdout == "prepping\n" and first in one.stderr
    several = project("logs", "fit").stdout
    assert several == (
        f"==> fit@fold=0 (run {first}) <==\nfold 0\n\n==> fit@fold=1 (run {first}) <==\nfold 1\n"
    )
    assert project("logs", "fit[fold=1]").stdout == "fold 1\n"
    assert project("logs", "score").stderr.endswith("score: it printed nothing\n")
    (document,) = project.json("logs", "prep")
    assert (document["run"], document["text"]) == (first, "prepping\n")


def test_logs_of_a_failure_and_of_the_run_before(project: Project) -> None:
    first = project.json("run")["run"]
    project.edit("echo prepping", "echo oh no; exit 3; echo")
    failed = project.json("run", code=1)["run"]
    assert project("logs", "prep").stdout == "oh no\n"
    assert project("logs", "prep", "--run", first).stdout == "prepping\n"
    assert project("logs", "fit@fold=0").stdout == "fold 0\n"  # skipped since
    ended = project("logs", "fit", "--run", failed, code=2)
    assert "[no-log]" in ended.stderr and failed in ended.stderr


def test_logs_errors(project: Project) -> None:
    assert "[no-log]" in project("logs", "prep", code=2).stderr
    assert "did you mean 'prep'" in project("logs", "perp", code=2).stderr
    project("run")
    assert "[unknown-run]" in project("logs", "prep", "--run", "nope", code=2).stderr
    # A recipe that is being edited does not keep the past away.
    project.edit("[task.fit]", "[task.fit")
    assert project("logs", "prep").stdout == "prepping\n"


def test_show_the_latest_and_an_earlier_one(project: Project) -> None:
    first = project.json("run")
    second = project.json("run")
    assert project.json("show") == second
    assert project.json("show", first["run"]) == first
    text = project("show", first["run"]).stdout
    row = next(line.split() for line in text.splitlines() if line.startswith("fit@fold=0 "))
    assert row[1:3] == ["succeeded", "-"] and row[4] == "0"
    key = next(s["key"] for s in first["steps"] if s["step"] == "fit@fold=0")
    assert row[-1] == key[:12]
    assert "notes: unpinned" in text and "because: nothing like it" in text
    assert " yes " in project("show").stdout


def test_show_failures_and_unknown_runs(project: Project) -> None:
    assert "[no-runs]" in project("show", code=2).stderr
    project.edit("echo prepping", "exit 3")
    run = project.json("run", code=1)["run"]
    text = project("show", run[:-2]).stdout
    assert "[task-failed]" in text and "exit code 1" in text and "skipped" in text
    assert "[unknown-run]" in project("show", "2000", code=2).stderr


def test_show_is_of_this_recipe(project: Project, tmp_path: Path) -> None:
    own = project.json("run")["run"]
    other = Project(tmp_path / "other", project.home)
    other.root.mkdir()
    (other.root / "recipe.toml").write_text("[task.prep]\ncommand = 'true'\n")
    foreign = other.json("run")["run"]
    assert project.json("show")["run"] == own
    outside = Project(tmp_path, project.home)
    assert outside.json("show")["run"] in (own, foreign)


def test_get_one_file(project: Project) -> None:
    project("run")
    assert project("get", "fit@fold=1.model").stdout == "model.txt\n"
    assert (project.root / "model.txt").read_text() == "raw\n3\n1\n"
    ended = project("get", "fit@fold=1.model", code=2)
    assert "[path-exists]" in ended.stderr and "--overwrite" in ended.stderr
    (project.root / "model.txt").write_text("mine")
    project("get", "fit@fold=0.model", "model.txt", "--overwrite")
    assert (project.root / "model.txt").read_text() == "raw\n3\n0\n"
    (project.root / "there").mkdir()
    assert project("get", "prep.table", "there").stdout == "there/table.txt\n"
    project("get", "prep.table", "new/place.txt")
    assert (project.root / "new/place.txt").read_text() == "raw\n3\n"


def test_get_shares_no_inode_and_is_writable(project: Project) -> None:
    project("run")
    project("get", "prep.table", "copy.txt")
    copy = project.root / "copy.txt"
    assert copy.stat().st_nlink == 1 and os.access(copy, os.W_OK)
    inodes = {p.stat().st_ino for p in project.home.rglob("*") if p.is_file()}
    assert copy.stat().st_ino not in inodes


def test_get_folders_and_all_instances(project: Project) -> None:
    project("run")
    project("get", "score.report", "copy")
    assert (project.root / "copy/all.txt").read_text() == "raw\n3\n0\nraw\n3\n1\n"
    document = project.json("get", "fit.model", "models")
    found = sorted(p.relative_to(project.root) for p in (project.root / "models").rglob("*.txt"))
    assert [str(path) for path in found] == [
        "models/fold=0/model.txt",
        "models/fold=1/model.txt",
    ]
    assert [r["step"] for r in document["results"]] == ["fit@fold=0", "fit@fold=1"]
    assert project("get", "fit.model").stdout == "model\n"
    assert not [p for p in project.root.iterdir() if p.name.startswith(".")]


def test_get_warns_of_a_stale_result(project: Project) -> None:
    run = project.json("run")["run"]
    project.edit("params.depth = 3", "params.depth = 4")
    ended = project("get", "prep.table", "old.txt")
    assert "warning: prep is not up to date (" in ended.stderr and run in ended.stderr
    assert (project.root / "old.txt").read_text() == "raw\n3\n"
    document = project.json("get", "fit@fold=0.model")
    assert document["results"][0]["stale"] == "depends on prep"


def test_get_errors(project: Project) -> None:
    ended = project("get", "fit.model", code=2)
    assert "[not-made]" in ended.stderr and "coopery run fit" in ended.stderr
    assert "did you mean 'model'" in project("get", "fit.modle", code=2).stderr
    assert "did you mean 'prep'" in project("get", "perp.table", code=2).stderr
    assert "did you mean 'fit.model'" in project("get", "fit", code=2).stderr
    assert "several tasks" in project("get", "*.table", code=2).stderr


def test_get_of_dropped_bytes_names_the_command_that_remakes_them(project: Project) -> None:
    project.edit('{ name = "model.txt" }', '{ name = "model.txt", transient = true }')
    project("run")
    ended = project("get", "fit@fold=0.model", code=3)
    assert "[output-gone]" in ended.stderr
    hint = ended.stderr.split("hint: make them again: coopery ")[1].split()
    project(*hint)
    project("get", "fit@fold=0.model")
    assert (project.root / "model.txt").read_text() == "raw\n3\n0\n"


def test_get_never_takes_another_projects_result(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other", project.home)
    shutil.copytree(project.root, other.root)
    other.edit("echo prepping", "echo other")
    other("run")
    assert "[not-made]" in project("get", "prep.table", code=2).stderr


def test_a_recipe_is_the_same_however_it_is_named(project: Project) -> None:
    link = project.root.parent / "link"
    link.symlink_to(project.root)
    names = ("recipe.toml", f"../{project.root.name}/recipe.toml", f"{link}/recipe.toml", str(link))
    for name in names:
        project("run", "-f", name, "--only", "prep")
    assert len(project.json("runs")) == len(names)
    # The result that the first run made is there for each other name.
    ended = project("run", "-f", names[1], "--only", "fit")
    assert "stale" not in ended.stderr
    for name in names:
        assert len(project.json("runs", "-f", name)) == len(names) + 1


def test_a_link_to_a_recipe_is_a_recipe_of_the_folder_it_is_in(project: Project) -> None:
    other = project.root.parent / "other"
    other.mkdir()
    (other / "raw.txt").write_text("others\n")
    (other / "recipe.toml").symlink_to(project.root / "recipe.toml")
    project("run", "-f", f"{other}/recipe.toml", "prep")
    assert (other / "build/table.txt").read_text().startswith("others")


def test_the_record_says_what_was_asked(project: Project) -> None:
    assert project.json("run", "--only", "prep", "fit")["targets"] == ["prep", "fit"]
    assert project.json("run")["targets"] == []
    lines = map(str.split, project("show").stdout.splitlines())
    assert ["targets:", "all"] in lines
    asked = project("stop", code=2).stderr
    assert "[not-running]" in asked and "hint: coopery runs" in asked
