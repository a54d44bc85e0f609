"""Recipes that a script or a notebook declares and runs: in a real process, in a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

SCRIPT = """
    import json, sys
    from coopery import Input, Output, Recipe, RunFailed
    from coopery.errors import CooperyError

    recipe = Recipe()
    OFFSET = 3

    class Model:
        def __init__(self, weight):
            self.weight = weight

    def helper(x):
        return x * 2 + OFFSET

    @recipe.task(matrix={"fold": [0, 1]}, outputs={"score": Output(returns="json")})
    def fit(fold, depth=3):
        return helper(depth) + fold

    scores = fit.output("score", load="json")

    model = Output(returns="pickle")

    @recipe.task(inputs={"scores": scores}, outputs={"model": model, "f": "f.txt"})
    def total(scores, f):
        f.write_text("told")
        return Model(sum(scores.values()))

    @recipe.task(outputs={"v": Output(returns="json")})
    def bad():
        raise ValueError("no")

    wrong_login = Recipe("login")
    wrong_login.registries({"host": "x.example", "username": "ada", "pasword": "as text"})
    said = {"forecast": recipe.forecast("total")}
    first = recipe.run(total, sets={"fit.depth": 4})
    said["values"] = [first.value("fit.score"), first.value("fit@fold=1.score")]
    said["model"] = first.value("total.model").weight
    said["keys"] = {name: outcome.key for name, outcome in first.outcomes.items()}
    said["again"] = repr(recipe.run("total", sets={"fit.depth": 4}))
    said["copy"] = first.get("total.f", "copy.txt").read_text()
    import os; os.remove("copy.txt"); open("there", "w").close()
    said["errors"] = []
    for wrong in (
        lambda: recipe.run(bad),
        lambda: recipe.run("fti"),
        lambda: recipe.run(jbos=2),
        lambda: recipe.run(sets={"fit.dept": 1}),
        lambda: first.value("total.f"),
        lambda: first.value("total.modl"),
        lambda: first.get("fit.score", "x"),
        lambda: first.get("total.f", "there"),
        lambda: recipe.run(jobs="x"),
        lambda: recipe.run(jobs=0),
        lambda: recipe.run(capacity="gpu=1"),
        lambda: recipe.run(force="yes"),
        lambda: recipe.run(selection="onyl"),
        lambda: recipe.run(sets={"fit.depth": None, "fit.more": object()}),
        lambda: recipe.run(7),
        lambda: recipe.run(bad, check=False).value("bad.v"),
        lambda: Recipe("../up"),
        lambda: Recipe(root="nowhere").run(),
        lambda: wrong_login.run(),
    ):
        try:
            wrong()
        except CooperyError as error:
            said["errors"].append([type(error).__name__, error.exit_code, str(error)])
    numbers = recipe.run("fit@fold=1", sets={"fit.depth": 2.5}, selection="only")
    said["one"] = [*numbers.value("fit.score"), repr(numbers)]
    said["unchecked"] = recipe.run("bad", check=False).exit_code
    json.dump(said, sys.stdout)
"""


def call(project: Project, file: str) -> Any:
    done = subprocess.run(
        [sys.executable, file],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_script_declares_tasks_and_runs_them(project: Project) -> None:
    project.write("own/script.py", SCRIPT)
    said = call(project, "own/script.py")
    assert said["forecast"]["fit@fold=0"] == "run"
    assert said["forecast"]["total"].startswith("depends on fit@fold=")
    assert said["values"] == [{"fit@fold=0": 11, "fit@fold=1": 12}, 12]
    assert said["model"] == 23 and said["again"] == "<run 3 cached>" and said["copy"] == "told"
    assert project.read("own/f.txt") == "told"
    kinds = [(name, code) for name, code, _ in said["errors"]]
    assert kinds == [("RunFailed", 1), *[("RecipeError", 2)] * 18]
    texts = [text for _, _, text in said["errors"]]
    for text, part in zip(
        texts,
        (
            "bad: exit code 1",
            "did you mean 'fit'?",
            "did you mean 'jobs'?",
            "did you mean 'depth'?",
            "total.f is no returned value",
            "did you mean 'total.model'?",
            "fit.score is 2 outputs",
            "there is a there already",
            "jobs: expected a whole number",
            "expected at least 1",
            "capacity: expected a list",
            "force: expected a boolean",
            "did you mean 'only'?",
            "fit.depth: a NoneType cannot be given to `sets`",
            "7 is no task of the recipe",
            "no output 'bad.v' (bad: failed)",
            "cannot be the name of a recipe",
            "/nowhere, in which",
            "did you mean 'password'?",
        ),
        strict=True,
    ):
        assert part in text
    assert said["unchecked"] == 1
    assert said["one"] == ["fit@fold=1", "<run 1 succeeded>"]  # by instance, though it is one
    again = call(project, "own/script.py")
    assert again["forecast"] == dict.fromkeys(said["forecast"], "run") | {
        "total": said["forecast"]["total"]
    }  # the forecast is for the default depth, which was never run
    assert again["keys"] == said["keys"]


def test_keys_are_those_of_a_recipe_file_that_says_the_same(project: Project) -> None:
    """The key of a function does not know where the function was declared (rows Q1 and Q9)."""
    project.write("script.py", SCRIPT)
    keys = call(project, "script.py")["keys"]
    body = SCRIPT[: SCRIPT.index("wrong_login =")].replace("recipe.task", "task")
    body = body.replace("recipe = Recipe()", "").replace("Recipe, RunFailed", "task")
    project.write("recipe.py", body)
    steps = project.run("total", "--set", "fit.depth=4")
    assert {name: step["key"] for name, step in steps.items()} == keys
    assert all(step["cached"] for step in steps.values())


CELLS = [
    """
    from coopery import Output, Recipe
    recipe = Recipe()
    factor = 2
    """,
    """
    @recipe.task(outputs={"twice": Output(returns="json")})
    def double(x=21):
        return x * factor
    """,
    "recipe.run(double).value('double.twice')",
    "factor = 3",
    "recipe.run('double').value('double.twice')",
    """
    @recipe.task(outputs={"twice": Output(returns="json")})
    def double(x=1):
        return x * factor
    """,
    "recipe.run().value('double.twice')",
    "recipe.run()",
]


def test_a_notebook_runs_its_cells_functions(project: Project) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    import textwrap

    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(textwrap.dedent(text).strip()) for text in CELLS]
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": project.root}}
    )
    client.execute(env=project.environment())
    shown = [
        output["data"]["text/plain"]
        for cell in book.cells
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert shown == ["42", "63", "3", "<run 1 cached>"]
    assert not Path(project.root, "notebook.py").exists()
