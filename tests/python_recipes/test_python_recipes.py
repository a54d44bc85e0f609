"""Recipes written in Python: what they say, and how their mistakes are told."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import coopery_python
from coopery import authoring
from coopery.errors import RecipeError
from coopery.recipes import Document

Load = Callable[..., Document]
PRELUDE = "from coopery.authoring import *\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str, **helpers: str) -> Document:
        for name, content in helpers.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(content))
        file = tmp_path / "recipe.py"
        file.write_text(PRELUDE + textwrap.dedent(text))
        document = coopery_python.load_recipe(file)
        assert document is not None
        return document

    return write


def test_says_the_same_as_toml(load: Load) -> None:
    document = load("""
        from pathlib import Path
        science = Image(packages=["numpy"], projects=[Project(Path("."), extras=("io",))])
        defaults(retries=2, image=science)
        fit = command(
            "fit", ("python", "-m", "fit", Path("x")), image=science, matrix={"fold": (0, 1)},
            inputs={"raw": Path("data/iris.csv")}, outputs={"model": Output(transient=True)},
            resources=Resources(cpu=1, memory="512Mi"), timeout="10m",
        )
        command("score", "true", inputs={"one": fit.output("model", fold=1)})
    """)
    assert document.problems == ()
    project = {"path": ".", "mode": "editable", "extras": ["io"]}
    assert document.data == {
        "image": {"science": {"packages": ["numpy"], "projects": [project]}},
        "task": {
            "fit": {
                "command": ["python", "-m", "fit", "x"],
                "image": "science",
                "inputs": {"raw": "data/iris.csv"},
                "outputs": {"model": {"transient": True}},
                "matrix": {"fold": [0, 1]},
                "resources": {"cpu": 1, "memory": "512Mi"},
                "timeout": "10m",
            },
            "score": {
                "command": "true",
                "inputs": {"one": {"from": "fit.model", "at": {"fold": 1}}},
            },
        },
        "defaults": {"retries": 2, "image": "science"},
    }


def test_the_models_own_dataclasses_are_taken_too(load: Load) -> None:
    document = load("""
        from coopery import model
        command("a", "true", inputs={"x": model.Input(origin="b.y")},
                resources=model.Resources(memory="1Gi"))
    """)
    assert document.data["task"]["a"]["inputs"] == {"x": {"from": "b.y"}}
    assert document.data["task"]["a"]["resources"] == {"memory": "1Gi"}


def test_all_that_a_recipe_imports_comes_from_coopery(load: Load) -> None:
    document = load("""
        from pathlib import Path
        from coopery import Image, Project, Resources, task

        science = Image(packages=["scikit-learn~=1.5"], projects=[Project(".", mode="editable")])

        @task(image=science, inputs={"raw": "data/iris.csv"}, outputs={"table": "build/table.csv"},
              resources=Resources(memory="512Mi"))
        def prepare(raw: Path, table: Path, seed: int = 0) -> None:
            ...
    """)
    (project,) = document.data["image"]["science"]["projects"]
    assert project["path"] == "."
    assert document.data["task"]["prepare"]["resources"] == {"memory": "512Mi"}


def test_a_decorated_function_is_a_task_with_its_defaults_as_params(load: Load) -> None:
    document = load("""
        @task(inputs={"raw": "a"}, outputs={"table": {}}, params={"depth": 5}, matrix={"fold": [1]})
        def prepare(raw, table, fold=1, seed: int = 0, depth=3, names=("a",), other=None):
            "Say it."
            return seed
        assert prepare(1, 2, seed=7) == 7 and prepare.__doc__ == "Say it."
    """)
    found = dict(document.data["task"]["prepare"])
    assert found.pop("function").__name__ == "prepare"
    assert found["params"] == {"seed": 0, "depth": 5, "names": ["a"]}


def test_every_key_knows_the_line_of_its_call(load: Load, tmp_path: Path) -> None:
    document = load(
        "import helper\nfor i in range(2):\n    command(f'fit_{i}', 'true')\n",
        helper=PRELUDE + "\n\nbase = Image()\n",
    )
    assert document.locate(("task", "fit_1", "inputs", "x")).line == 4
    place = document.locate(("image", "base", "packages", 0))
    assert (place.file, place.line) == (str(tmp_path / "helper.py"), 4)
    assert document.locate(("nothing",)).file == str(tmp_path / "recipe.py")


def test_names_given_twice_or_not_at_all(load: Load) -> None:
    document = load("""
        command("a", "true")
        command("a", "false")
        images = [Image()]
    """)
    by_slug = {p.slug: p for p in document.problems}
    assert by_slug["duplicate-name"].place.line == 4
    assert "line 3" in by_slug["duplicate-name"].message
    assert by_slug["unnamed-image"].place.line == 5


@pytest.mark.parametrize(
    ("text", "slug", "line", "part"),
    [
        ("def f(:\n  pass", "invalid-python", 2, "invalid syntax"),
        ("x = 1\nimport json\njson.loads('{')", "recipe-raised", 4, "JSONDecodeError"),
        ("import sys\nsys.exit(3)", "recipe-raised", 3, "sys.exit(3)"),
        ("import absent_module", "recipe-raised", 2, "absent_module"),
        ("def f():\n  raise KeyError('x')\nf()", "recipe-raised", 3, "KeyError: 'x'"),
    ],
)
def test_mistakes_are_told_with_their_line(
    load: Load, text: str, slug: str, line: int, part: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(text)
    (problem,) = caught.value.problems
    assert (problem.slug, problem.place.line) == (slug, line)
    assert part in problem.message


def test_a_helpers_syntax_error_names_the_helper(load: Load, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load("import broken", broken="a = (\n")
    assert caught.value.problems[0].slug == "invalid-python"
    assert caught.value.problems[0].place.file == str(tmp_path / "broken.py")


def test_output_goes_to_stderr_and_nothing_is_left_behind(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, bytecode = list(sys.path), sys.dont_write_bytecode
    load("import helper; print('hello')", helper="x = 1")
    assert capsys.readouterr() == ("", "hello\n")
    assert (sys.path, sys.dont_write_bytecode) == (before, bytecode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["helper.py", "recipe.py"]


def test_reading_again_sees_changed_helpers(load: Load) -> None:
    text = "import helper_module; command(helper_module.NAME, 'true')"
    assert list(load(text, helper_module="NAME = 'a'").data["task"]) == ["a"]
    assert list(load(text, helper_module="NAME = 'b'").data["task"]) == ["b"]


def test_a_recipe_named_like_a_module_does_not_hide_it(tmp_path: Path) -> None:
    import json

    file = tmp_path / "json.py"
    file.write_text("x = 1")
    coopery_python.load_recipe(file)
    assert sys.modules["json"] is json


def test_other_kinds_are_left_to_others() -> None:
    assert coopery_python.load_recipe(Path("recipe.toml")) is None
    assert coopery_python.recipe_names() == ["recipe.py"]


def test_importing_a_recipe_as_a_module_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "recipe.py"
    file.write_text(PRELUDE + "img = Image()\n@task\ndef f(x: int = 1) -> int:\n    return x\n")
    spec = importlib.util.spec_from_file_location("plain_recipe", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.f(5) == 5
    assert module.f.output("y") == authoring.Input(origin="f.y")


def test_no_module_hides_what_recipes_import() -> None:
    """Once a submodule is imported, the package's attribute of its name is that."""
    import coopery

    folder = Path(coopery.__file__).parent
    hidden = [n for n in coopery.__all__ if (folder / n).exists() or (folder / f"{n}.py").exists()]
    assert hidden == []
