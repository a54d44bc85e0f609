"""`--exit-code task`: a run ends with the exit code of the command of its one task."""

from __future__ import annotations

import signal
import time

import pytest

from coopery.testing import Project

RECIPE = """
[task.first]
command = 'exit {params.code}'
params.code = 0

[task.own]
command = '{params.end}; echo 1 > "{outputs.o}"'
params.end = ":"
inputs.i = "given"
outputs.o = {}

[task.many]
matrix.n = [1, 2]
command = 'exit 9'

[task.after]
command = 'cat "{inputs.o}"; exit 7'
inputs.o = { from = "own.o" }
"""


@pytest.fixture
def recipe(project: Project) -> Project:
    project.write("recipe.toml", RECIPE)
    project.write("given", "")
    return project


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (":", 0),
        ("exit 3", 3),
        ("exit 130", 130),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("exit 0", 1),  # without its output
        ("exec no-such-program", 127),
    ],
)
def test_it_is_that_of_the_task(recipe: Project, end: str, code: int) -> None:
    sets = ("--set", f"own.end={end}")
    assert recipe.coopery("run", "own", *sets, "--exit-code", "task").exit_code == code
    answer = recipe.coopery("run", "own", *sets, "--exit-code", "run", "--json")
    assert answer.exit_code == (1 if code else 0) == answer.json["exit_code"]
    if not code:  # remembered
        again = recipe.coopery("run", "own", *sets, "--exit-code", "task", "--json")
        assert again.exit_code == 0 and again.json["steps"][0]["cached"]


def test_of_what_did_not_come_to_run_it_is_the_runs(recipe: Project) -> None:
    answer = recipe.coopery(
        "run", "after", "--exit-code", "task", "--set", "own.end=exit 4", "--json"
    )
    assert (answer.exit_code, answer.json["exit_code"]) == (1, 1)
    assert recipe.coopery("run", "after", "--exit-code", "task").exit_code == 7
    recipe.root.joinpath("given").unlink()
    assert recipe.coopery("run", "own", "--exit-code", "task").exit_code == 2
    recipe.write("given", "")
    answer = recipe.coopery("run", "first", "--exit-code", "task", "--home", "/dev/null/x")
    assert answer.exit_code == 3 and answer.slugs == ("home-unusable",)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ((), "it would be 5"),
        (("many",), "many@n=1, many@n=2"),
        (("first", "own"), "first, own"),
        (("own", "--downstream"), "own, after"),
        (("first", "--needs-only"), "it would be none"),
    ],
)
def test_one_task_must_be_asked_for(recipe: Project, targets: tuple[str, ...], told: str) -> None:
    answer = recipe.coopery("run", *targets, "--exit-code", "task")
    assert (answer.exit_code, answer.slugs) == (2, ("one-task",))
    assert told in answer.told("one-task")
    assert recipe.coopery("runs").stdout == "no run is kept\n"
    assert recipe.coopery("run", "many@n=1", "--exit-code", "task").exit_code == 9


@pytest.mark.parametrize("other", ["--dry-run", "--shell", "--watch"])
def test_where_no_run_ends_it_is_refused(recipe: Project, other: str) -> None:
    answer = recipe.coopery("run", "own", "--exit-code", "task", other)
    assert (answer.exit_code, answer.slugs) == (2, ("bad-command-line",))
    answer = recipe.coopery("run", "own", "--exit-code", "tusk")
    assert "did you mean 'task'" in answer.told("bad-command-line")


READER = """
    from coopery.hooks import hookimpl
    from coopery.model import ExitCode
    from coopery.recipes import Document
    from coopery.errors import Place

    @hookimpl
    def recipe_names():
        return ["recipe.bare"]

    @hookimpl
    def load_recipe(path):
        if path.suffix == ".bare":
            tasks = {name: {"command": f"exit {name[1:]}"} for name in path.read_text().split()}
            return Document(
                data={"task": tasks}, locate=lambda key: Place(), exit_code=ExitCode.TASK
            )
"""


def test_a_kind_of_recipe_may_have_it_by_default(project: Project) -> None:
    """But only where there is one task."""
    project.plugin("bare", READER)
    project.write("recipe.bare", "t5")
    assert project.coopery("run").exit_code == 5
    assert project.coopery("run", "--exit-code", "run").exit_code == 1
    project.write("recipe.bare", "t5 t6")
    assert project.coopery("run").exit_code == 1
    assert project.coopery("run", "t6").exit_code == 6
    assert project.coopery("run", "--exit-code", "task").slugs == ("one-task",)


MAY = """
    from dataclasses import dataclass
    from coopery.dependencies import Invocation
    from coopery.hooks import hookimpl
    from coopery.recipes import Facet

    @dataclass(frozen=True)
    class May:
        text: str

    @hookimpl
    def declare_facets():
        return [Facet(noun="task", key="may", type=str, wrap=May, action=True)]

    @hookimpl
    def plan_task(recipe, instance):
        if may := instance.task.facet(May):
            return Invocation(command=("sh", "-c", may.text), shown="may", skip_codes=(126, 5))
"""


@pytest.mark.parametrize("code", [126, 5])
def test_a_skipped_task_says_so(project: Project, code: int) -> None:
    project.plugin("may", MAY)
    project.write(
        "recipe.toml",
        f"""
        [task.a]
        may = "exit {code}"
        outputs.o = {{}}
        [task.b]
        command = "true"
        inputs.i = {{ from = "a.o" }}
        """,
    )
    assert project.coopery("run", "a", "--exit-code", "task").exit_code == code
    assert project.coopery("run", "a").exit_code == 0
    (_, line) = project.coopery("status").stdout.splitlines()[1:]
    assert line.startswith(f"  a: skipped, exit code {code}, held ")
    assert project.coopery("run", "b", "--exit-code", "task").exit_code == 126


def test_out_of_memory_is_137(project: Project) -> None:
    """Whatever the command made of it."""
    project.write(
        "recipe.toml",
        '''
        [task.a]
        command = """python3 -c 'x = b"x" * (300 << 20); import time; time.sleep(9)' || exit 3"""
        resources.memory = "100Mi"
        ''',
    )
    answer = project.coopery("run", "--exit-code", "task")
    assert answer.exit_code == 137, answer.stderr
    assert "at its memory limit of 100 MiB, having held " in answer.told("out-of-memory")
    (line,) = [x for x in project.coopery("status").stdout.splitlines() if x.startswith("  a: ")]
    assert line.startswith("  a: failed, exit code 137, out of memory, held ")


def test_an_interrupt_is_130(recipe: Project) -> None:
    process = recipe.start("run", "own", "--exit-code", "task", "--set", "own.end=sleep 60")
    deadline = time.monotonic() + 30
    while not any(run["steps"] for run in recipe.coopery("status", "--json").json["running"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
