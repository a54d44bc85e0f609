"""Whatever is wrong in a recipe is told with a mend: the line that begins with `hint:`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coopery.testing import Project

A = "[task.a]\ncommand = ['true']\n"
ON_I = "[image.i]\n{}\n[task.a]\nimage = 'i'\ncommand = ['true']\n"

RECIPES: dict[str, str | bytes] = {
    "defaults that are no table": "defaults = 1\n" + A,
    "tasks that are no table": "task = 1\n",
    "a task that is no table": "task.a = 1\n",
    "an image that is no table": "image.i = 1\n" + A,
    "no version of the recipe": "coopery = 'x'\n" + A,
    "both actions": A + "function = 'm:f'\n",
    "a list for a table": A + "env = ['A']\n",
    "a number for text": A + "description = 3\n",
    "text for a number": A + "priority = 'high'\n",
    "a fraction for a whole number": A + "priority = 1.5\n",
    "text for a boolean": A + "always = 'yes'\n",
    "a table for a list": A + "pass_env = { A = 1 }\n",
    "a number for a channel": A + "inputs.x = 3\n",
    "a number in a channel": A + "outputs.x = { path = 3 }\n",
    "a date": A + "params.when = 2024-01-01\n",
    "no finite number": A + "params.x = inf\n",
    "a NUL in a parameter": A + 'params.x = "\\u0000"\n',
    "a NUL in a text": A + 'description = "\\u0000"\n',
    "a resource of nothing": A + "resources.memory = 0\n",
    "a resource of nothing, as text": A + "resources.memory = '0Mi'\n",
    "a list for a quantity": A + "resources.memory = [1]\n",
    "a time limit of nothing": A + "timeout = 0\n",
    "a boolean for a time limit": A + "timeout = true\n",
    "gpus of less than none": A + "resources.gpu = -1\n",
    "retries on what is none": A + "retries = { count = 1, on = ['x'] }\n",
    "a matrix that is no table": A + "matrix = [1]\n",
    "an axis that is no list": A + "matrix.x = 1\n",
    "an axis with a value twice": A + "matrix.x = [1, 1]\n",
    "an axis that is no name": A + "matrix.'a b' = [1]\n",
    "a channel that is no name": A + "inputs.'a b' = 'recipe.toml'\n",
    "a long channel": A + f"outputs.{'x' * 200} = {{}}\n",
    "channels alike": A + "outputs.x = {}\noutputs.X = {}\n",
    "an input from nowhere": A + "inputs.x = {}\n",
    "an input from two": A + "inputs.x = { path = 'recipe.toml', from = 'a.o' }\n",
    "from without an output": A + "inputs.x = { from = 'a' }\n",
    "from a task without outputs": A
    + "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.o' }\n",
    "at without a matrix": A + "outputs.o = {}\n[task.b]\ncommand = ['true']\n"
    "inputs.x = { from = 'a.o', at = { fold = 1 } }\n",
    "at that lacks an axis": A + "matrix = { f = [1], g = [1] }\noutputs.o = {}\n[task.b]\n"
    "command = ['true']\ninputs.x = { from = 'a.o', at = { f = 1 } }\n",
    "at a value that is none": A + "matrix.f = [10, 20]\noutputs.o = {}\n[task.b]\n"
    "command = ['true']\ninputs.x = { from = 'a.o', at = { f = 1 } }\n",
    "at beside a path": A + "inputs.x = { path = 'recipe.toml', at = { f = 1 } }\n",
    "a base name that is none": A + "outputs.o = { name = 'a/b' }\n",
    "an absolute destination": A + "outputs.o = '/x'\n",
    "a destination that is the recipe": A + "outputs.o = 'recipe.toml'\n",
    "a destination behind a link": A + "outputs.o = 'away/x'\n",
    "an input that is a link": A + "inputs.x = 'away'\n",
    "an input of a folder that is not there": A + "inputs.x = 'no/such/file'\n",
    "an input in an empty folder": A + "inputs.x = 'empty/file'\n",
    "a placeholder of no group": "[task.a]\ncommand = ['{nothing.x}']\n",
    "a placeholder of an empty group": "[task.a]\ncommand = ['{params.x}']\n",
    "a placeholder in the environment": A + "env.X = '{params.x}'\n",
    "a placeholder that is none": "[task.a]\ncommand = ['{x}']\n",
    "a function that is no name": "[task.a]\nfunction = 'f'\n",
    "a package that is none": ON_I.format("packages = ['a b']"),
    "a package that is an option": ON_I.format("packages = ['-r x']"),
    "a package of nothing": ON_I.format("packages = ['']"),
    "a package over two lines": ON_I.format('packages = ["a\\nb"]'),
    "a package that is a variable": ON_I.format("packages = ['${X}']"),
    "a package that is a path": ON_I.format("packages = ['./x']"),
    "a package from a repository": ON_I.format("packages = ['x @ hg+https://h.example/x']"),
    "a package from elsewhere": ON_I.format("packages = ['x @ ftp://h.example/x.whl']"),
    "a package of another wheel": ON_I.format(
        "packages = ['x @ https://h.example/y-1-py3-none-any.whl']"
    ),
    "a package of no wheel": ON_I.format("packages = ['x @ https://h.example/y.whl']"),
    "packages that are text": ON_I.format("packages = 'numpy'"),
    "no Debian package": ON_I.format("system = ['Lib GOMP']"),
    "a project of a wrong mode": ON_I.format("projects = [{ path = 'empty', mode = 3 }]"),
    "a project of an unknown mode": ON_I.format("projects = [{ path = 'empty', mode = 'x' }]"),
    "a project that is a file": ON_I.format("projects = ['recipe.toml']"),
    "a project that is none": ON_I.format("projects = ['empty']"),
    "a project with wrong TOML": ON_I.format("projects = ['broken']"),
    "a wheel that is a folder": ON_I.format("wheels = ['empty']"),
    "a source that leads upwards": ON_I.format("sources = ['../x']"),
    "a source to elsewhere": ON_I.format("sources = [{ path = 'recipe.toml', to = '/x' }]"),
    "a file of which some is chosen": ON_I.format(
        "sources = [{ path = 'recipe.toml', include = ['*'] }]"
    ),
    "a source that is a pipe": ON_I.format("sources = ['pipe']"),
    "a requirements file that is not there": ON_I.format("requirements = ['empty/x.txt']"),
    "a requirements file from a URL": ON_I.format("requirements = ['https://h.example/r.txt']"),
    "a requirements file that is a folder": ON_I.format("requirements = ['empty']"),
    "not TOML: a value": "[task.a]\ncommand = nope\n",
    "not TOML: a key twice": A + "command = ['true']\n",
    "not TOML: no equals sign": "[task.a]\ncommand\n",
    "not UTF-8": b"[task.a]\ncommand = ['\xff']\n",
}
LINES = {
    "unreadable text": b"\xff\n",
    "a cycle": b"-r r.txt\n",
    "an open quote": b"-i 'x\n",
    "an option without a value": b"-i\n",
    "an option with a value": b"--pre=1\n",
    "an index that is no URL": b"-i nowhere\n",
    "a second index": b"-i https://a.example/s\n-i https://b.example/s\n",
    "an unknown option": b"--nothing\n",
    "an unknown option beside a requirement": b"x==1 --nothing=1\n",
    "a variable that is not set": b"-f ${NOT_SET_HERE}/x\n",
    "a hash that is none": b"x==1 --hash=sha256:12\n",
    "a hash that is weak": b"x==1 --hash=md5:12\n",
    "hashes without a version": b"x --hash=sha256:" + b"0" * 64 + b"\n",
    "links that are not there": b"-f nowhere\n",
    "a continued nothing": b"\\\n;\n",
}


def surround(project: Project, tmp_path: Path) -> None:
    """What the recipes speak of: folders, a pipe, a link to elsewhere, a project that is broken."""
    (project.root / "empty").mkdir()
    (project.root / "away").symlink_to(tmp_path)
    os.mkfifo(project.root / "pipe")
    project.write("broken/pyproject.toml", "[project\n")


def assert_all_mended(project: Project, *more: str) -> None:
    answer = project.coopery("run", *more)
    assert answer.exit_code == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    told = answer.stderr.split("error: ")[1:]
    assert told
    for block in told:
        assert "\n  hint: " in block, block


@pytest.mark.parametrize("name", RECIPES)
def test_of_a_recipe(project: Project, tmp_path: Path, name: str) -> None:
    surround(project, tmp_path)
    text = RECIPES[name]
    (project.root / "recipe.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_all_mended(project)


@pytest.mark.parametrize("name", LINES)
def test_of_a_requirements_file(project: Project, name: str) -> None:
    project.write("recipe.toml", ON_I.format("requirements = ['r.txt']"))
    (project.root / "r.txt").write_bytes(LINES[name])
    assert_all_mended(project)


@pytest.mark.parametrize(
    "options",
    ["-j 0", "-j many", "--set a", "--set b.x=1", "--set a.y=1", "--set a.x=inf", "--capacity x"],
)
def test_of_options(project: Project, options: str) -> None:
    project.write("recipe.toml", A + "params.x = 1\n")
    assert_all_mended(project, *options.split())
