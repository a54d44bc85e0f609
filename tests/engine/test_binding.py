"""Channels that are files and folders of this machine, used where they are: `bind`."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopery.testing import Project


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of the project, with a file in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    return folder


def test_what_is_bound_is_used_where_it_is(project: Project, outside: Path) -> None:
    """Nothing of it is stored, keyed or delivered; outputs are made if they are missing."""
    text = f"""
    [task.a]
    always = true
    command = "cat {{inputs.texts}}/a.txt {{inputs.one}} > {{outputs.out}}/b.txt; \
echo {{inputs.texts}} {{outputs.out}}"
    inputs.texts = {{ path = "{outside}", bind = true }}
    inputs.one = {{ path = "data/one.txt", bind = true }}
    outputs.out = {{ path = "{outside}/new/deep", bind = true }}
    """
    project.write("recipe.toml", text)
    project.write("data/one.txt", "two")
    step = project.run()["a"]
    assert (outside / "new/deep/b.txt").read_text() == "onetwo"
    assert Path(step["log"]).read_text() == f"{outside} {outside}/new/deep\n"
    assert (step["outputs"], step["needs"]) == ({}, [])
    (outside / "a.txt").write_text("edited")
    again = project.run()["a"]
    assert not again["cached"] and again["key"] == step["key"]
    assert (outside / "new/deep/b.txt").read_text().startswith("edited")


def test_at_a_fixed_place(project: Project, outside: Path) -> None:
    """In a view of its own, in which inputs cannot be written."""
    text = f"""
    [task.a]
    always = true
    command = "cat /data/in/a.txt > /data/out/b.txt; touch /data/in/x || echo refused"
    inputs.texts = {{ path = "{outside}", bind = true, mount = "/data/in" }}
    outputs.out = {{ path = "{outside}/new", bind = true, mount = "/data/out" }}
    """
    project.write("recipe.toml", text)
    step = project.run()["a"]
    assert (outside / "new/b.txt").read_text() == "one"
    assert Path(step["log"]).read_text().endswith("refused\n")
    assert sorted(path.name for path in outside.iterdir()) == ["a.txt", "new"]


CASES = [
    (
        'inputs.i = { path = "data", bind = true }',
        "bad-bind",
        "a.inputs.i.bind",
        "always = true",
    ),
    (
        'outputs.o = { path = "out", bind = true }',
        "bad-bind",
        "a.outputs.o.bind",
        "always = true",
    ),
    ("always = true\noutputs.o = { bind = true }", "bad-bind", "a.outputs.o.bind", "path"),
    (
        'always = true\ninputs.i = { from = "made.o", bind = true }',
        "bad-bind",
        "a.inputs.i.bind",
        "path",
    ),
    (
        'always = true\ninputs.i = { path = "build/o/x", bind = true }',
        "bad-bind",
        "a.inputs.i.bind",
        "from",
    ),
    (
        'always = true\ninputs.i = { path = "build", bind = true }',
        "bad-bind",
        "a.inputs.i.bind",
        "from",
    ),
    (
        'always = true\ninputs.i = { path = "gone", bind = true }',
        "missing-input",
        "a.inputs.i",
        "data",
    ),
    (
        'always = true\ninputs.i = { path = "/dev/null", bind = true }',
        "special-file",
        "a.inputs.i",
        "file",
    ),
    (
        'always = true\noutputs.o = { path = "data/a.txt/x", bind = true }',
        "bad-destination",
        "a.outputs.o",
        "folder",
    ),
    (
        'always = true\noutputs.o = { path = "data", bind = true, transient = true }',
        "transient-destination",
        "a.outputs.o",
        "transient",
    ),
]


@pytest.mark.parametrize(("lines", "slug", "key", "hint"), CASES)
def test_what_cannot_be_bound(project: Project, lines: str, slug: str, key: str, hint: str) -> None:
    project.write("data/a.txt", "x")
    made = '[task.made]\ncommand = "touch {outputs.o}"\noutputs.o = "build/o"\n'
    project.write("recipe.toml", made + f'[task.a]\ncommand = "true"\n{lines}\n')
    answer = project.coopery("run", "a")
    assert (answer.exit_code, answer.slugs) == (2, (slug,)), answer.stderr
    assert f"(task.{key})" in answer.stderr and hint in answer.told(slug)


def test_a_place_of_each_instance(project: Project) -> None:
    text = """
    [task.a]
    always = true
    matrix.n = [1, 2]
    command = "echo {matrix.n} > {outputs.o}/x"
    outputs.o = { path = "out/{matrix.n}", bind = true }
    """
    project.write("recipe.toml", text)
    project.run()
    assert [project.read(f"out/{n}/x") for n in (1, 2)] == ["1\n", "2\n"]


def test_in_a_container(contained: Project, outside: Path) -> None:
    text = f"""
    [image.i]
    [task.a]
    image = "i"
    always = true
    command = "cat {{inputs.texts}}/a.txt > {{outputs.out}}/b.txt; touch {{inputs.texts}}/x || \
echo refused {{inputs.texts}} {{outputs.out}}"
    inputs.texts = {{ path = "{outside}", bind = true }}
    outputs.out = {{ path = "{outside}/new", bind = true }}
    """
    contained.write("recipe.toml", text)
    step = contained.run("-r", "docker")["a"]
    told = Path(step["log"]).read_text().splitlines()[-1]
    assert told == "refused /coopery/inputs/texts/elsewhere /coopery/outputs/out/new"
    assert (outside / "new/b.txt").read_text() == "one"


def test_a_folder_that_cannot_be_made(project: Project) -> None:
    """Which is seen when the task runs."""
    text = """
    [task.a]
    always = true
    command = "true"
    outputs.o = { path = "/proc/nowhere", bind = true }
    """
    project.write("recipe.toml", text)
    answer = project.coopery("run", "--json")
    (step,) = answer.json["steps"]
    assert answer.exit_code == 1 and step["problems"][0]["slug"] == "bad-destination"
    assert "Traceback" not in answer.stderr
