"""Steps whose memory goes by their data: the hooks `size_step` and `review_step`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

PLUGIN = """
from dataclasses import replace
from pathlib import Path

from coopery.dependencies import Invocation
from coopery.errors import problem
from coopery.hooks import hookimpl
from coopery.steps import Sizing


def size_of(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


@hookimpl(tryfirst=True)
def plan_task(recipe, instance):
    if not instance.task.params.get("scaled"):
        return None
    return Invocation(command=instance.task.facets[0].items, shown="scaled", scaling="mine")


@hookimpl(tryfirst=True)
def size_step(step, inputs, outputs):
    if step.work.scaling != "mine":
        return None
    sizes = {
        name: [[inner, size_of(path)] for inner, path in parts] for name, parts in inputs.items()
    }
    memory = sum(size for parts in sizes.values() for _, size in parts) * 1000
    work = replace(step.work, resources=replace(step.work.resources, memory=None))
    with (Path(step.work.env["SEEN"])).open("a") as log:
        log.write(f"{step.name} {memory}\\n")
    seats = {"seats": memory / 1000} if step.work.params.get("seated") else {}
    wrong = ()
    if memory == 13000:
        wrong = (problem("bad-luck", "thirteen bytes", key=step.key_path),)
    return Sizing(
        work=work,
        resources={**step.resources, "memory": float(memory), **seats},
        facts={"mine": sizes},
        wrong=wrong,
    )


@hookimpl
def review_step(step, facts):
    if step.work.scaling == "mine":
        yield f"reviewed {step.name}: exit code {facts.get('exit_code')}"
        yield "warning: it is only a test"
"""
A = """
[task.a]
params.scaled = 1
env.SEEN = "{seen}"
command = ["sh", "-c", "cat $0", "{{inputs.data}}"]
inputs.data = "data"
"""


@pytest.fixture
def sized(project: Project) -> Project:
    """A project whose tasks with the parameter `scaled` take 1000 times the bytes they read."""
    project.plugin("sizes", PLUGIN)
    project.write("data", "12345678")
    return project


def seen(project: Project) -> list[str]:
    """What was sized, in order."""
    file = project.root / "seen"
    return file.read_text().splitlines() if file.exists() else []


def text(project: Project, more: str = "") -> str:
    return A.format(seen=project.root / "seen") + more


def failed(project: Project, *arguments: str) -> dict[str, Any]:
    answer = project.coopery("run", "--json", *arguments)
    assert answer.exit_code in (1, 3), answer.stderr
    assert "Traceback" not in answer.stderr
    return next(dict(s) for s in answer.json["steps"] if s["step"] == "a")


def test_what_is_found_is_recorded_and_told(sized: Project) -> None:
    sized.write("recipe.toml", text(sized))
    answer = sized.coopery("run", "--json")
    assert answer.exit_code == 0, answer.stderr
    (step,) = (s for s in answer.json["steps"] if s["step"] == "a")
    assert step["facts"]["mine"] == {"data": [["", 8]]}
    assert seen(sized) == ["a 8000"]
    assert "reviewed a: exit code 0" in answer.stderr
    (warning,) = (line for line in answer.stderr.splitlines() if "only a test" in line)
    assert warning.startswith("warning: ")
    # What is remembered is neither sized nor reviewed.
    again = sized.coopery("run")
    assert "reviewed" not in again.stderr and seen(sized) == ["a 8000"]


def test_what_is_wrong_fails_the_step_before_it_runs(sized: Project) -> None:
    sized.write("recipe.toml", text(sized))
    sized.write("data", "x" * 13)
    step = failed(sized)
    assert [found["slug"] for found in step["problems"]] == ["bad-luck"]
    assert step["log"] is None and step["state"] == "failed"


def test_what_fits_on_no_machine(sized: Project) -> None:
    sized.write("recipe.toml", text(sized))
    step = failed(sized, "--capacity", "memory=7k")
    assert [found["slug"] for found in step["problems"]] == ["never-fits"]
    assert "memory" in step["problems"][0]["message"] and step["log"] is None


def test_what_is_reserved_follows(sized: Project) -> None:
    """Two steps that do not fit together wait for each other."""
    body = 'command = ["sh", "-c", "date +%s%N; sleep 0.3; date +%s%N"]\ninputs.data = "data"\n'
    env = f'env.SEEN = "{sized.root}/seen"\nparams = {{ scaled = 1, seated = 1, n = @ }}\n'
    tasks = [f"[task.{name}]\n{env.replace('@', str(n))}{body}" for n, name in enumerate("ab")]
    sized.write("recipe.toml", "".join(tasks))
    for seats, apart in ((15, True), (16, False)):
        steps = sized.run("--force", "-j", "2", "--capacity", f"seats={seats}")
        spans = sorted(
            [int(line) for line in Path(steps[name]["log"]).read_text().split()]
            for name in ("a", "b")
        )
        assert (spans[0][1] <= spans[1][0]) == apart


def test_upstream_is_read_when_it_is_there(sized: Project) -> None:
    """Of a gathered input each part; and what was dropped is made anew before it is sized."""
    first = """
    [task.m]
    matrix.n = [1, 2]
    command = ["sh", "-c", "printf 12345{matrix.n} > $0", "{outputs.o}"]
    outputs.o = { transient = true, name = "o.txt" }
    """.replace("    ", "")
    second = text(sized).replace('"data"', '{ from = "m.o" }').replace("cat", "ls")
    sized.write("recipe.toml", first + second)
    step = sized.run()["a"]
    parts = sorted(step["facts"]["mine"]["data"])
    assert [size for _, size in parts] == [6, 6]
    assert [inner for inner, _ in parts] == ["n=1/o.txt", "n=2/o.txt"]
    again = sized.run("--force", "a")["a"]
    assert sorted(again["facts"]["mine"]["data"]) == parts
    assert seen(sized)[-1] == "a 12000"


def test_each_attempt_is_sized(sized: Project) -> None:
    """What is read may be other bytes by then: a step may write into what it is bound to."""
    lines = text(sized, "retries = 2\n").replace("cat $0", "exit 3")
    sized.write("recipe.toml", lines)
    answer = sized.coopery("run", "--json")
    (step,) = (s for s in answer.json["steps"] if s["step"] == "a")
    assert answer.exit_code == 1 and step["facts"]["exit_code"] == 3
    assert step["facts"]["mine"] == {"data": [["", 8]]}
    assert seen(sized) == ["a 8000"] * 3
    assert "reviewed a: exit code 3" in answer.stderr


@pytest.mark.parametrize(
    ("line", "slug"),
    [("raise RuntimeError('x')", "plugin-raised"), ("return 'much'", "bad-answer")],
)
def test_a_sizing_that_raises_or_answers_wrongly(project: Project, line: str, slug: str) -> None:
    project.plugin("sizes", PLUGIN.replace("    wrong = ()\n", f"    {line}\n"))
    project.write("data", "12345678")
    project.write("recipe.toml", text(project))
    answer = project.coopery("run")
    assert answer.exit_code != 0 and f"[{slug}]" in answer.stderr and "'sizes'" in answer.stderr
    assert "Traceback" not in answer.stderr
