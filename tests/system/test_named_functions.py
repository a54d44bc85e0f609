"""Functions of a recipe's own project: imported by name, and looked up before anything runs."""

from __future__ import annotations

import pytest

from coopery.testing import Project

PACKAGE = """
    from pathlib import Path

    def work(out: Path, depth: int, *, label: str = "x") -> None:
        out.write_text(f"{depth} {label} {__file__}")

    def anything(**values: object) -> None:
        values["out"].write_text("any")

    class Tools:
        @staticmethod
        def decorated(out):
            out.write_text("decorated")

    made = work
"""

TASK = """
    [image.own]
    projects = ["."]

    [task.a]
    image = "own"
    function = "pk.steps:work"
    params.depth = 3
    outputs.out = "out.txt"
"""


@pytest.fixture
def own(project: Project) -> Project:
    project.write(
        "pyproject.toml",
        """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "pk"
        version = "1"
        [tool.hatch.build.targets.wheel]
        packages = ["src/pk"]
        """,
    )
    project.write("src/pk/__init__.py", "")
    project.write("src/pk/steps.py", PACKAGE)
    return project


def test_a_function_of_the_project_is_imported_where_its_wheel_is(own: Project) -> None:
    own.write("recipe.toml", TASK.replace("params.depth = 3", "params = {depth = 3, label = 'x'}"))
    own.write(
        "recipe.py",
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, str(Path(__file__).parent / "src"))
        from coopery import Image, Project, task
        from pk.steps import work
        own = Image("own", projects=[Project(".")])
        task(image=own, name="a", params={"depth": 3}, outputs={"out": "out.txt"})(work)
        """,
    )
    steps = own.run("-f", "recipe.toml")
    said = own.read("out.txt")
    assert said.startswith("3 x ") and "site-packages" in said
    again = own.run("-f", "recipe.py")
    assert again["a"]["key"] == steps["a"]["key"] and again["a"]["cached"]


@pytest.mark.parametrize(
    ("old", "new", "slug", "line", "said"),
    [
        ("pk.steps:work", "pk.steps:wrok", "function-target", 6, "did you mean 'work'?"),
        ("pk.steps:work", "pk.stops:work", "function-target", 6, "did you mean 'pk.steps'?"),
        ("pk.steps:work", "pk.steps:Tools.no", "function-target", 6, "there is: decorated"),
        ("params.depth", "params.dept", "function-signature", 7, "did you mean 'depth'?"),
        ("outputs.out", "outputs.o", "function-signature", 8, "no argument for the output 'o'"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_built(
    own: Project, old: str, new: str, slug: str, line: int, said: str
) -> None:
    own.write("recipe.toml", TASK.replace(old, new))
    answer = own.coopery("run")
    assert answer.exit_code == 2 and slug in answer.slugs
    assert f"recipe.toml:{line}" in answer.stderr and said in answer.stderr
    assert not own.home.exists() and not (own.root / "recipe.lock").exists()


@pytest.mark.parametrize(
    "target", ["pk.steps:anything", "pk.steps:Tools.decorated", "pk.steps:made", "os.path:join"]
)
def test_what_cannot_be_seen_is_let_through(own: Project, target: str) -> None:
    own.write("recipe.toml", TASK.replace("pk.steps:work", target))
    assert own.coopery("validate").exit_code == 0


def test_a_module_that_cannot_be_parsed_is_told(own: Project) -> None:
    own.write("src/pk/steps.py", "def work(:\n")
    own.write("recipe.toml", TASK)
    answer = own.coopery("validate")
    assert answer.slugs == ("function-target",) and "steps.py" in answer.stderr
