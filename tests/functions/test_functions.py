"""Function tasks: what is refused before a run, what is planned, and how the runner calls."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import coopery_functions
import coopery_python
from coopery.dependencies import Invocation
from coopery.errors import Problem, show_key
from coopery.hooks import hookimpl
from coopery.model import Instance, Project, Recipe, iterate_matrix
from coopery.plugins import Plugins
from coopery.recipes import Facet, read
from coopery.testing import Project as Folder


@dataclass(frozen=True)
class Trees:
    several: tuple[Project, ...]


class TreesPlugin:
    """Stands for the plugin that knows an image's projects."""

    @hookimpl
    def declare_facets(self) -> list[Facet]:
        return [Facet(noun="image", key="projects", type=tuple[Project, ...], wrap=Trees)]


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.py"
    file.write_text("from coopery.authoring import *\n" + textwrap.dedent(text))
    return file


def recipe_of(file: Path) -> Recipe:
    plugins = Plugins(
        [("python", coopery_python), ("functions", coopery_functions), ("trees", TreesPlugin())]
    )
    return read(file, plugins)


def checked(file: Path) -> list[Problem]:
    return list(coopery_functions.check(recipe_of(file), "local"))


def planned(recipe: Recipe, name: str) -> list[Invocation]:
    task = recipe.tasks[name]
    points = iterate_matrix(task.matrix)
    made = [coopery_functions.plan_task(recipe, Instance(task=task, coords=c)) for c in points]
    return [invocation for invocation in made if invocation is not None]


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_channels_params_and_matrix_become_arguments(tmp_path: Path, run: Run) -> None:
    text = """
        import json
        @task(name="prepare", inputs={"raw_data": "raw.txt"}, outputs={"table": {}},
              matrix={"fold": [7]}, params={"deep": {"a": [1, 2]}})
        def prepare_it(raw_data, table, fold, deep, seed: int = 0, own=None):
            said = [raw_data.read_text(), fold, deep, seed, own]
            table.write_text(json.dumps(said))
    """
    recipe = recipe_of(write(tmp_path / "project", text))
    assert list(coopery_functions.check(recipe, "local")) == []
    (invocation,) = planned(recipe, "prepare")
    deep = "{'a': (1, 2)}"
    assert invocation.shown == f"prepare_it(raw_data, table, seed=0, deep={deep}, fold=7)"
    raw, table = tmp_path / "raw", tmp_path / "table"
    raw.write_text("hello")
    done = run(invocation, COOPERY_INPUT_RAW_DATA=raw, COOPERY_OUTPUT_TABLE=table)
    assert done.returncode == 0, done.stderr
    assert json.loads(table.read_text()) == ["hello", 7, {"a": [1, 2]}, 0, None]


def test_keys_hold_the_digest_and_the_call_but_no_bytes(tmp_path: Path) -> None:
    text = "@task(matrix={'n': [1, 2]})\ndef f(n): print(n)\n"
    one, two = planned(recipe_of(write(tmp_path, text)), "f")
    keyed = {aux.name: aux.keyed for aux in one.aux}
    assert keyed["runner.py"] is None and keyed["cloudpickle.zip"] is None
    assert len(keyed["payload.pkl"] or "") == 64
    assert [a.name for a, b in zip(one.aux, two.aux, strict=True) if a.keyed != b.keyed] == [
        "call.json"
    ]
    assert one.command[:2] == ("python", "{aux.runner.py}")


@pytest.mark.parametrize(
    ("body", "code", "parts"),
    [
        ("raise ValueError('bad')", 1, ["recipe.py", "ValueError: bad"]),
        ("import absent_thing", 1, ["does not provide 'absent_thing'"]),
        ("raise SystemExit(7)", 7, []),
        ("return 5", 0, ["returned int, which is not kept"]),
    ],
)
def test_how_a_call_ends(tmp_path: Path, run: Run, body: str, code: int, parts: list[str]) -> None:
    file = write(tmp_path / "p", f"@task\ndef f():\n    {body}\n")
    done = run(planned(recipe_of(file), "f")[0])
    assert done.returncode == code
    assert all(part in done.stderr for part in parts)
    assert "runner.py" not in done.stderr


def test_a_projects_function_goes_by_name(tmp_path: Path, run: Run) -> None:
    package = tmp_path / "project" / "src" / "iris_by_name"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "prepare.py").write_text("def main(out): out.write_text('by name')\n")
    text = """
        import sys; sys.path.insert(0, "src"); sys.path.insert(0, __file__[:-9] + "src")
        from iris_by_name.prepare import main
        img = Image(projects=[{"path": "."}])
        task(name="inside", image=img, outputs={"out": {}})(main)
        task(name="outside", outputs={"out": {}})(main)
    """
    recipe = recipe_of(write(tmp_path / "project", text))
    assert list(coopery_functions.check(recipe, "local")) == []
    (inside,), (outside,) = planned(recipe, "inside"), planned(recipe, "outside")
    assert [aux.name for aux in inside.aux] == ["runner.py", "call.json"]
    assert json.loads(inside.aux[1].content)["target"] == "iris_by_name.prepare:main"
    assert "payload.pkl" in [aux.name for aux in outside.aux]
    done = run(inside, COOPERY_OUTPUT_OUT=tmp_path / "o")
    assert done.returncode == 1 and "does not provide 'iris_by_name'" in done.stderr
    (tmp_path / "scratch" / "iris_by_name").symlink_to(package)
    assert run(inside, COOPERY_OUTPUT_OUT=tmp_path / "o").returncode == 0
    assert (tmp_path / "o").read_text() == "by name"


@pytest.mark.parametrize(
    ("text", "slug", "key", "part"),
    [
        (
            "@task(inputs={'raw': 'x'})\ndef f(rew=1): 0",
            "function-signature",
            "task.f.inputs.raw",
            "'raw'",
        ),
        (
            "@task(params={'sed': 1})\ndef f(seed=1): 0",
            "function-signature",
            "task.f.params.sed",
            "'sed'",
        ),
        ("@task\ndef f(x): 0", "function-signature", "task.f.function", "'x'"),
        ("@task\ndef f(x, /): 0", "function-signature", "task.f.function", "positional-only"),
        (
            "@task(inputs={'x': 'a'}, outputs={'x': {}})\ndef f(x): 0",
            "function-signature",
            "task.f.outputs.x",
            "one value",
        ),
        ("@task\nasync def f(): 0", "function-kind", "task.f.function", "async"),
        ("@task\ndef f(): yield 0", "function-kind", "task.f.function", "generator"),
        ("task(name='f')(print)", "function-kind", "task.f.function", "builtin"),
        ("task('a b', name='f')", "function-target", "task.f.function", "'a b'"),
        (
            "i = Image(python='3.4')\n@task(image=i)\ndef f(): 0",
            "python-mismatch",
            "task.f.function",
            "3.4",
        ),
        (
            "import threading\nlock = threading.Lock()\n@task\ndef f(): lock",
            "no-canonical-form",
            "task.f.function",
            "lock",
        ),
    ],
)
def test_what_is_wrong_is_found_before_a_run(
    tmp_path: Path, text: str, slug: str, key: str, part: str
) -> None:
    (problem,) = checked(write(tmp_path, text))
    assert (problem.slug, show_key(problem.place.key)) == (slug, key)
    assert part in problem.message
    assert problem.hint


def test_a_typo_offers_the_nearest_argument(tmp_path: Path) -> None:
    (problem,) = checked(write(tmp_path, "@task(inputs={'tabel': 'x'})\ndef f(table=1): 0"))
    assert problem.hint == "did you mean 'table'?"


def test_two_tasks_may_share_and_call_each_other(tmp_path: Path, run: Run) -> None:
    text = """
        @task
        def base(n: int = 2): return n * 2
        @task(outputs={"out": {}})
        def top(out): out.write_text(str(base(n=5)))
    """
    recipe = recipe_of(write(tmp_path / "p", text))
    done = run(planned(recipe, "top")[0], COOPERY_OUTPUT_OUT=tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o").read_text() == "10"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, coopery_functions, coopery_python; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "coopery_functions" in done.stdout.split()
    heavy = {"cloudpickle", "packaging", "coopery.authoring", "coopery_functions.canonical"}
    assert not heavy & {*done.stdout.split()}


def test_text_names_a_function_anywhere(tmp_path: Path) -> None:
    text = "task('os.path:join', name='t', params={'a': 'x', 'p': ['y']})"
    recipe = recipe_of(write(tmp_path / "p", text))
    (invocation,) = planned(recipe, "t")
    assert invocation.shown == "os.path:join(a='x', p=('y',))"
    assert json.loads(invocation.aux[1].content)["target"] == "os.path:join"


@pytest.mark.parametrize("runtime", ["local", "docker"])
def test_a_function_for_another_python_is_refused_with_both_ways_out(
    project: Folder, runtime: str
) -> None:
    """Before anything is asked of an engine or built; one that is named runs in any Python."""
    text = """
    from coopery import Image, task
    other = Image(python="3.99", base="python:3.99-slim", sources=["lib.py"])

    @task(image=other, outputs={"o": "o"})
    def f(o):
        o.write_text("x")

    task("lib:g", name="g", image=other, outputs={"o": "p"})
    """
    project.write("recipe.py", text)
    project.write("lib.py", "def g(o): o.write_text('x')\n")
    env = {"DOCKER_HOST": "unix:///nowhere"}
    answer = project.coopery("run", "-r", runtime, env=env)
    assert answer.exit_code == 2 and answer.slugs == ("python-mismatch",)
    told = answer.told("python-mismatch")
    assert "recipe.py:4 (task.f.function): f is pickled by Python 3." in told
    assert "give the image python = '3." in told and '"module:function"' in told
