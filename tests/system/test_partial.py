"""Parts of a recipe: which tasks run, in which order, and what they take from earlier runs (O2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from coopery.testing import Project

NEEDS = {"1": (), "2": ("1",), "3": ("2",), "4": ("2",), "5": ("4",), "6": ()}
"""1 -> 2 -> {3, 4}, 4 -> 5, and 6 alone."""


def recipe(
    needs: Mapping[str, Sequence[str]] = NEEDS, words: Mapping[str, str] | None = None
) -> str:
    """Each task writes its own number after what it reads."""
    lines = []
    for name, before in needs.items():
        word = (words or {}).get(name, name)
        reads = " ".join(f"{{inputs.t{need}}}" for need in before)
        lines += [
            f"[task.t{name}]",
            f"command = 'cat /dev/null {reads} > {{outputs.o}}; echo {word} >> {{outputs.o}}'",
            "outputs.o = {}",
            *(f"inputs.t{need} = {{ from = 't{need}.o' }}" for need in before),
        ]
    return "\n".join(lines) + "\n"


def ran(answer: Any) -> list[str]:
    """The tasks of a run, by when they ended."""
    steps = sorted(answer.json["steps"], key=lambda step: step["ended"] or "")
    return [step["step"].removeprefix("t") for step in steps]


@pytest.fixture
def made(project: Project) -> Project:
    """All was made once, so that every input can be supplied."""
    project.write("recipe.toml", recipe())
    project.run()
    return project


TABLE = [
    ("--only", "2 4 6", "2 4 6"),
    ("--only", "1 3", "1 3"),
    ("--only", "1 5", "1 5"),
    ("--only", "5", "5"),
    ("--only", "6", "6"),
    ("--only", "1 2 3 4 5 6", "1 2 3 4 5 6"),
    ("--needs-only", "4 6", "1 2"),
    ("--needs-only", "5", "1 2 4"),
    ("--needs-only", "2 5", "1 4"),
    ("--needs-only", "1", ""),
    ("--needs-only", "3 5", "1 2 4"),
    ("--downstream", "2", "2 3 4 5"),
    ("--downstream", "4 6", "4 5 6"),
    ("--downstream", "1", "1 2 3 4 5"),
    ("--downstream", "3", "3"),
    ("--downstream", "1 6", "1 2 3 4 5 6"),
]


@pytest.mark.parametrize(("flag", "targets", "expected"), TABLE)
def test_which_tasks_run_and_in_which_order(
    made: Project, flag: str, targets: str, expected: str
) -> None:
    names = [f"t{name}" for name in targets.split()]
    answer = made.coopery("run", "--json", "-j", "4", "--force", flag, *names)
    assert answer.exit_code == 0, answer.stderr
    order = ran(answer)
    assert sorted(order) == expected.split()
    reach = {name: set(needs) for name, needs in NEEDS.items()}
    for name in NEEDS:
        reach[name] |= {far for need in NEEDS[name] for far in reach[need]}
    ends = {step["step"]: step for step in answer.json["steps"]}
    for name in order:
        for before in reach[name] & set(order):
            assert ends[f"t{before}"]["ended"] <= ends[f"t{name}"]["started"]
    assert all(not step["cached"] for step in ends.values())
    forecasts = made.coopery("run", "--json", "-n", "--force", flag, *names).json["steps"]
    assert sorted(f["step"].removeprefix("t") for f in forecasts) == expected.split()


def test_order_is_kept_through_what_was_not_selected(made: Project) -> None:
    """The seed started both at once, and the second read what the first had not yet written."""
    project = made
    project.write("recipe.toml", recipe().replace("echo 1 >>", "sleep 0.5; echo 1 >>"))
    answer = project.coopery("run", "--json", "-j", "4", "--force", "--only", "t1", "t5")
    steps = {step["step"]: step for step in answer.json["steps"]}
    assert steps["t1"]["ended"] <= steps["t5"]["started"]


def test_inputs_come_from_the_latest_success_and_a_stale_one_warns(made: Project) -> None:
    made.write("recipe.toml", recipe(words={"1": "one"}))
    forecasts = {
        f["step"]: f for f in made.coopery("run", "-n", "--json", "--only", "t2").json["steps"]
    }
    assert forecasts["t1"]["forecast"] == "taken" and "stale" in forecasts["t1"]["reason"]
    answer = made.coopery("run", "--json", "--force", "--only", "t2")
    assert answer.exit_code == 0
    assert "t1 was not selected and is stale" in answer.stderr
    assert made.coopery("get", "t2.o", "two").exit_code == 0
    assert made.read("two") == "1\n2\n"
    made.run("t1")
    answer = made.coopery("run", "--json", "--only", "t2")
    assert "stale" not in answer.stderr
    assert not answer.json["steps"][0]["cached"]
    made.coopery("get", "t2.o", "two-anew")
    assert made.read("two-anew") == "one\n2\n"


def test_the_stale_is_told_of_in_the_record(made: Project) -> None:
    made.write("recipe.toml", recipe(words={"1": "one"}))
    record = made.coopery("run", "--json", "--force", "--only", "t2").json
    (taken,) = record["supplied"]
    assert (taken["step"], taken["stale"]) == ("t1", True)
    assert len(taken["key"]) == 64 and taken["made_by"]
    fresh = made.coopery("run", "--json", "--force", "--only", "t6").json
    assert fresh["supplied"] == []


def test_what_was_never_made_is_an_error_that_names_the_command(project: Project) -> None:
    project.write("recipe.toml", recipe())
    for arguments in (("run", "--only", "t5", "t3"), ("run", "-n", "--only", "t5", "t3")):
        answer = project.coopery(*arguments)
        assert answer.exit_code == 2
        assert answer.slugs == ("not-made", "not-made")
        assert "coopery run t2 t4" in answer.stderr
    project.run("t4")
    answer = project.coopery("run", "--json", "--only", "t5", "t3")
    assert answer.exit_code == 0 and sorted(ran(answer)) == ["3", "5"]


def test_a_failure_skips_what_comes_after_it_through_unselected_tasks(made: Project) -> None:
    made.write("recipe.toml", recipe().replace("echo 1 >>", "false; exit 3 #"))
    answer = made.coopery("run", "--json", "--only", "t1", "t5", "t6")
    assert answer.exit_code == 1
    states = {step["step"]: step["state"] for step in answer.json["steps"]}
    assert states == {"t1": "failed", "t5": "skipped", "t6": "succeeded"}


def test_bytes_of_an_unselected_task_are_made_again_when_they_are_gone(project: Project) -> None:
    text = recipe({"1": (), "2": ("1",)}).replace(
        "outputs.o = {}", "outputs.o = { transient = true }", 1
    )
    project.write("recipe.toml", text)
    project.run()
    forecasts = project.coopery("run", "-n", "--json", "--force", "--only", "t2").json["steps"]
    assert {f["step"]: f["forecast"] for f in forecasts} == {"t1": "run", "t2": "run"}
    steps = project.run("--force", "--only", "t2")
    assert steps["t1"]["reason"]["code"] == "remade"
    # Of a stale one there is nothing to make the same bytes from.
    project.write("recipe.toml", text.replace("echo 1 >>", "echo one >>"))
    answer = project.coopery("run", "--force", "--only", "t2")
    assert answer.exit_code == 1 and "[lost-bytes]" in answer.stderr
    assert "coopery run t1" in answer.stderr


MATRIX = """
[task.fit]
matrix.fold = [0, 1, 2]
command = "echo {matrix.fold} > {outputs.o}"
outputs.o = "build/{matrix.fold}"
[task.score]
command = "cat {inputs.all}/*/o > {outputs.o} || cat {inputs.all}/*/* > {outputs.o}"
inputs.all = { from = "fit.o" }
outputs.o = "build/score"
"""


@pytest.mark.parametrize(
    ("flag", "targets", "expected"),
    [
        ("--only", ["fit@fold=1"], ["fit@fold=1"]),
        ("--only", ["fit[fold=1]", "score"], ["fit@fold=1", "score"]),
        ("--only", ["fit"], ["fit@fold=0", "fit@fold=1", "fit@fold=2"]),
        ("--only", ["*core"], ["score"]),
        ("--only", ["fit@fold=[12]"], ["fit@fold=1", "fit@fold=2"]),
        ("--needs-only", ["build/score"], ["fit@fold=0", "fit@fold=1", "fit@fold=2"]),
        ("--downstream", ["build/2"], ["fit@fold=2", "score"]),
    ],
)
def test_instances_globs_and_paths(
    project: Project, flag: str, targets: list[str], expected: list[str]
) -> None:
    project.write("recipe.toml", MATRIX)
    project.run()
    steps = project.run(flag, *targets)
    assert sorted(steps) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("--only",),
        ("--downstream",),
        ("--only", "--downstream", "t1"),
        ("--force", "--force-all"),
        ("--keep-going", "--fail-fast"),
    ],
)
def test_options_that_contradict_each_other(project: Project, arguments: tuple[str, ...]) -> None:
    project.write("recipe.toml", recipe())
    answer = project.coopery("run", *arguments)
    assert answer.exit_code == 2 and answer.slugs == ("bad-command-line",)
    assert not project.home.exists()


def test_what_is_made_again_for_its_bytes_counts_too(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.first]
        command = "echo 1 > {outputs.o}"
        outputs.o = { transient = true }

        [task.second]
        command = "cat {inputs.i} > {outputs.o}"
        inputs.i = { from = "first.o" }
        outputs.o = { transient = true }

        [task.third]
        params.p = 1
        command = "echo {params.p}; cat {inputs.i}"
        inputs.i = { from = "second.o" }
        """,
    )
    project.run()
    again = project.coopery("run", "--only", "third", "--set", "third.p=2")
    # One is selected; each that turns out to be wanted besides is one more.
    assert re.findall(r"^done .*\[(.*?)\]", again.stderr, re.MULTILINE) == ["1/2", "2/3", "3/3"]
    cached = project.coopery("run", "-v", "--only", "third")
    assert re.findall(r"^cached .*\[(.*?)\]", cached.stderr, re.MULTILINE) == ["1/1"]
