"""Functions that return values, and functions that take them: through the installed command."""

from __future__ import annotations

import json
import pickle

import pytest

from coopery.testing import Project

CHAIN = """
    from dataclasses import dataclass
    from coopery import Input, Output, task

    @dataclass
    class Model:
        weights: list[float]

    @task(matrix={"fold": [0, 1]}, outputs={"score": Output(returns="json")})
    def score(fold: int, scale: float = 0.5):
        return {"fold": fold, "value": scale * (fold + 1), "name": "größe", "steps": (1, 2)}

    @task(
        inputs={"scores": score.output("score", load="json")},
        outputs={"model": Output("build/model.pkl", returns="pickle"), "log": "build/log.txt"},
    )
    def fit(scores, log):
        log.write_text(repr(sorted(scores)))
        return Model([scores[name]["value"] for name in sorted(scores)])

    @task(
        inputs={
            "model": fit.output("model", load="pickle"),
            "settings": Input("s.json", load="json"),
        },
        outputs={"said": "build/said.txt"},
    )
    def say(model, settings, said):
        said.write_text(f"{type(model).__name__} {model.weights} {settings['greeting']}")
"""


def test_values_go_from_function_to_function(project: Project) -> None:
    project.write("recipe.py", CHAIN)
    project.write("s.json", '{"greeting": "hello"}')
    steps = project.run()
    assert project.read("build/said.txt") == "Model [0.5, 1.0] hello"
    assert project.read("build/log.txt") == "['fold=0', 'fold=1']"
    assert not steps["say"]["cached"] and all(s["cached"] for s in project.run().values())
    assert project.coopery("get", "score@fold=1.score", "got.json").exit_code == 0
    assert json.loads(project.read("got.json")) == {
        "fold": 1,
        "value": 1.0,
        "name": "größe",
        "steps": [1, 2],
    }


def test_another_way_to_hand_a_value_over_is_another_key(project: Project) -> None:
    text = """
        from coopery import Input, task
        @task(inputs={"s": Input("s.json"%s)}, outputs={"out": "out.txt"})
        def say(s, out):
            out.write_text(type(s).__name__)
    """
    project.write("s.json", "[1]")
    project.write("recipe.py", text % "")
    one = project.run()["say"]
    assert project.read("out.txt") == "PosixPath"
    project.write("recipe.py", text % ', load="json"')
    two = project.run()["say"]
    assert project.read("out.txt") == "list" and one["key"] != two["key"]


@pytest.mark.parametrize(
    ("form", "result", "said"),
    [
        ("json", "{'a': [1, {2}]}", "the result is no JSON: it['a'][1] is of type set"),
        ("json", "{1: 2}", "the result is no JSON: it has the key 1 of type int"),
        ("json", "[float('nan')]", "the result is no JSON: it[0] is nan"),
        ("pickle", "(n for n in [1])", "the result cannot be pickled"),
    ],
)
def test_what_cannot_be_kept_fails_the_task(
    project: Project, form: str, result: str, said: str
) -> None:
    project.write(
        "recipe.py",
        f"""
        from coopery import Output, task
        @task(outputs={{"v": Output(returns="{form}")}})
        def f():
            return {result}
        """,
    )
    done = project.coopery("run")
    assert done.exit_code == 1 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        ("json", b"{nope", "holds no json that can be read here: JSONDecodeError"),
        ("pickle", b"nope", "holds no pickle that can be read here: "),
        ("pickle", pickle.dumps(pytest.Item), "ModuleNotFoundError: No module named"),
    ],
)
def test_what_cannot_be_read_fails_the_task(
    project: Project, form: str, content: bytes, said: str
) -> None:
    project.root.joinpath("v").write_bytes(content)
    project.write(
        "recipe.toml",
        f"""
        [image.own]
        sources = ["m.py"]
        [task.f]
        image = "own"
        function = "m:f"
        inputs.v = {{ path = "v", load = "{form}" }}
        """,
    )
    project.write("m.py", "def f(v): print(v)\n")
    done = project.coopery("run")
    assert done.exit_code == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_all_that_is_wrong_is_told_at_once(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = ["true"]
        inputs.i = { path = "i", load = "json" }
        outputs.o = { returns = "pickle" }

        [task.b]
        function = "m:f"
        outputs.x = { returns = "json" }
        outputs.y = { returns = "json" }
        outputs.z = { path = "z/", returns = "json" }

        [task.c]
        function = "m:f"
        outputs.x = { returns = "jsn" }
        """,
    )
    project.write("i", "1")
    done = project.coopery("run")
    assert done.exit_code == 2
    for part in (
        "(task.a.inputs.i): 'load' is for functions",
        "(task.a.outputs.o): 'returns' is for functions",
        "(task.b.outputs.y.returns): a function returns one value: 'x' has it already",
        "'jsn' is not one of json, pickle",
        "(task.b.outputs.z): a returned value is one file, not a folder",
        "6 errors",
    ):
        assert part in done.stderr, done.stderr
