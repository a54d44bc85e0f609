"""A destination that would not be overwritten is told of before anything runs."""

from __future__ import annotations

from coopery.testing.projects import Project, performed

RECIPE = """
    [task.a]
    command = "echo a >> {trace}; echo a > {{outputs.o}}"
    outputs.o = "a.txt"

    [task.b]
    command = "echo b >> {trace}; echo b > {{outputs.o}}"
    outputs.o = "b.txt"

    [task.c]
    command = "echo c >> {trace}; cat {{inputs.i}} > {{outputs.o}}"
    inputs.i = {{ from = "a.o" }}
    outputs.o = "c.txt"
"""


def write(project: Project) -> None:
    """The recipe, whose tasks leave a trace of having run."""
    project.write("recipe.toml", RECIPE.format(trace=project.home.with_name("trace")))


def ran(project: Project) -> str:
    """The tasks that ran, in any order."""
    trace = project.home.with_name("trace")
    return "".join(sorted(trace.read_text().split())) if trace.exists() else ""


def test_all_that_stand_in_the_way_are_told_before_anything_runs(project: Project) -> None:
    write(project)
    project.run()
    first = ran(project)
    project.write("a.txt", "mine")
    project.write("c.txt", "mine too")
    for call in (["run"], ["run", "--dry-run"], ["run", "--keep-going"], ["run", "--force"]):
        answer = project.coopery(*call)
        assert (answer.exit_code, answer.slugs) == (2, ("output-edited", "output-edited"))
        assert "recipe.toml:3 (task.a.outputs.o)" in answer.stderr and "c.txt" in answer.stderr
        assert "--overwrite" in answer.told("output-edited")
        assert (ran(project), answer.stdout) == (first, "")
    assert len(project.coopery("runs", "--json").json) == 1  # nothing was begun
    assert project.forecast("--overwrite")["a"] == "cached"
    project.run("--overwrite")
    assert (ran(project), project.read("a.txt")) == (first, "a\n")


def test_what_nobody_knows_yet_is_warned_of_and_its_result_is_not_lost(project: Project) -> None:
    write(project)
    project.write("a.txt", "mine")
    project.write("b.txt", "b\n")  # as checked in, beside a fresh home
    told = project.coopery("run", "--dry-run")
    assert told.exit_code == 0
    assert "warning: " in told.stderr and "a.txt was not written by coopery" in told.stderr
    answer = project.coopery("run", "--json")
    assert answer.exit_code == 1 and "a.txt was not written by coopery" in answer.stderr
    states = {step["step"]: step["state"] for step in answer.json["steps"]}
    assert states == {"a": "failed", "b": "succeeded", "c": "skipped"}
    assert project.read("a.txt") == "mine"
    assert project.run("--overwrite")["a"]["cached"]
    assert ran(project) == "abc"


def test_a_task_that_is_not_selected_keeps_nobody_waiting(project: Project) -> None:
    write(project)
    project.write("a.txt", "mine")
    assert list(project.run("b")) == ["b"]
    assert project.forecast("b") == {"b": "cached"}


def test_an_edited_output_of_a_remembered_task_is_told_by_the_forecast_too(
    project: Project,
) -> None:
    write(project)
    project.run()
    project.write("b.txt", "edited")
    for call in (["run"], ["run", "-n"]):
        answer = project.coopery(*call)
        assert (answer.exit_code, answer.slugs) == (2, ("output-edited",))
    assert project.coopery("why", "b").exit_code == 0


def test_what_equals_the_result_is_in_nobodys_way(project: Project) -> None:
    write(project)
    project.run()
    # The same bytes, though the store holds them no more and has not put them there.
    for file in (project.home / "objects").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.unlink()
    project.write("b.txt", "b\n")
    assert performed(project.run()) == []
