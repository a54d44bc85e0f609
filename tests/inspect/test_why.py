"""`why`: the part that differs, and the run that made a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coopery.reasons import changes
from coopery.steps import Part

from .conftest import Project


def why(project: Project, target: str, *flags: str) -> dict[str, Any]:
    """The one answer about a target."""
    (answer,) = project.json("why", target, *flags)["targets"]
    assert isinstance(answer, dict)
    return answer


def reasons(project: Project, target: str, *flags: str) -> list[str]:
    """The words of the reasons."""
    return [reason["text"] for reason in why(project, target, *flags)["reasons"]]


def test_nothing_was_made_before(project: Project) -> None:
    answer = why(project, "prep")
    assert (answer["verdict"], answer["reasons"][0]["code"]) == ("run", "new")
    answer = why(project, "score")
    assert (answer["verdict"], answer["on"]) == ("depends", "prep")
    assert answer["chain"] == ["prep", "fit@fold=0", "score"]


def test_a_cached_result_names_its_run_and_key(project: Project) -> None:
    ran = project.json("run")
    answer = why(project, "fit@fold=1")
    assert (answer["verdict"], answer["made_by"]) == ("cached", ran["run"])
    assert answer["key"] == next(s["key"] for s in ran["steps"] if s["step"] == "fit@fold=1")
    assert f"made by run {ran['run']}" in project("why", "fit@fold=1").stdout


def test_a_parameter_is_named_and_not_the_command_it_stands_in(project: Project) -> None:
    project("run")
    assert reasons(project, "prep", "--set", "prep.depth=4") == ["parameter depth changed: 3 -> 4"]


def test_a_command_is_named_with_what_differs(project: Project) -> None:
    project("run")
    project.edit("echo prepping", "echo cooking")
    (text,) = reasons(project, "prep")
    assert text.startswith("command changed") and "cooking" in text


def test_variables_are_named(project: Project) -> None:
    project.edit("params.depth = 3\n", 'params.depth = 3\nenv.MODE = "fast"\n')
    project("run")
    project.edit('"fast"', '"slow"')
    assert reasons(project, "prep") == ["variable MODE changed: fast -> slow"]
    project.edit('env.MODE = "slow"\n', "")
    assert reasons(project, "prep") == ["variable MODE is gone"]


def test_an_input_file_is_named_and_what_depends_on_it_says_so(project: Project) -> None:
    project("run")
    (project.root / "raw.txt").write_text("other\n")
    answer = why(project, "prep")
    assert answer["verdict"] == "run"
    assert [r["part"] for r in answer["reasons"]] == ["input raw (raw.txt)"]
    answer = why(project, "score")
    assert (answer["verdict"], answer["on"], answer["key"]) == ("depends", "prep", None)
    assert answer["chain"] == ["prep", "fit@fold=0", "score"]
    (reason,) = answer["reasons"]
    assert (reason["step"], reason["part"]) == ("prep", "input raw (raw.txt)")
    text = project("why", "score").stdout
    assert text.startswith(
        "score: depends on prep (prep -> fit@fold=0 -> score)\n  prep: input raw"
    )


def test_the_files_of_an_input_folder_are_named(project: Project) -> None:
    (project.root / "data").mkdir()
    for name in ("a.txt", "b.txt"):
        (project.root / "data" / name).write_text(name)
    project.edit('inputs.raw = "raw.txt"', 'inputs.raw = "raw.txt"\ninputs.more = "data"')
    project("run")
    (project.root / "data/b.txt").write_text("changed")
    (project.root / "data/c.txt").write_text("new")
    (text,) = reasons(project, "prep")
    assert "b.txt" in text and "c.txt is new" in text and "a.txt" not in text


def test_a_changed_result_is_followed_to_its_cause(project: Project) -> None:
    project("run")
    project("run", "prep", "--set", "prep.depth=4")
    project.edit("params.depth = 3", "params.depth = 4")
    answer = why(project, "fit@fold=0")
    (reason,) = answer["reasons"]
    assert (answer["verdict"], reason["step"]) == ("run", "prep")
    assert reason["part"] == "parameter depth"
    assert reason["through"] == ["input table of prep"]
    project("run")
    # Now that all is up to date, the same is said of the past; a folder of instances too.
    answer = why(project, "score")
    assert answer["verdict"] == "cached"
    assert [r["text"] for r in answer["reasons"]] == ["parameter depth changed: 3 -> 4"]
    assert "it ran because: input models of fit@fold=0" in project("why", "score").stdout


def test_what_is_certain_of_a_step_is_said_though_it_depends_on_another(project: Project) -> None:
    project("run")
    (project.root / "raw.txt").write_text("other\n")
    project.edit("echo fold", "echo the fold")
    found = why(project, "fit@fold=0")
    assert found["verdict"] == "depends"
    assert [(r["step"], r["part"]) for r in found["reasons"]] == [
        ("fit@fold=0", "command"),
        ("prep", "input raw (raw.txt)"),
    ]


def test_a_forced_run_says_so_afterwards(project: Project) -> None:
    project("run")
    project("run", "prep", "--force")
    assert reasons(project, "prep") == ["--force"]


def test_always_is_a_reason(project: Project) -> None:
    project.edit("params.depth = 3\n", "params.depth = 3\nalways = true\n")
    project("run")
    answer = why(project, "prep")
    assert (answer["verdict"], answer["reasons"][0]["code"]) == ("run", "always")


def test_another_project_of_the_same_home_is_not_taken_for_this_one(
    project: Project, tmp_path: Path
) -> None:
    other = Project(tmp_path / "other", project.home)
    other.root.mkdir()
    (other.root / "recipe.toml").write_text("[task.prep]\ncommand = 'true'\n")
    other("run")
    assert reasons(project, "prep") == ["nothing like it was made before"]


def test_why_writes_no_lock_and_runs_nothing(project: Project) -> None:
    project("why")
    assert sorted(p.name for p in project.root.iterdir()) == ["raw.txt", "recipe.toml"]


def test_unknown_targets_get_the_nearest_name(project: Project) -> None:
    assert "did you mean 'score'" in project("why", "scor", code=2).stderr


def test_a_command_that_differs_by_more_than_a_parameter_is_told() -> None:
    old = [Part(name="parameter n", value="3"), Part(name="command", value='["a", "--n", "3"]')]
    follows = [Part(name="parameter n", value="4"), Part(name="command", value='["a", "--n", "4"]')]
    more = [Part(name="parameter n", value="4"), Part(name="command", value='["b", "--n", "4"]')]
    assert [change.name for change in changes(old, follows)] == ["parameter n"]
    assert [change.name for change in changes(old, more)] == ["parameter n", "command"]


def test_hashes_go_with_their_package() -> None:
    old = [Part(name="package np", value="1"), Part(name="hashes np", value="x")]
    new = [Part(name="package np", value="2"), Part(name="hashes np", value="y")]
    assert [change.name for change in changes(old, new)] == ["package np"]
    assert [c.name for c in changes(old, [old[0], new[1]])] == ["files of package np"]
