"""Wrong recipes: every one is told with place and mend, exits with 2 and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coopery.testing import Project

GOOD = """
[task.a]
command = ["true"]
"""

CASES = {
    "unknown table": ("[tsk.a]\ncommand = ['true']\n", "unknown-key", 1, "did you mean 'task'"),
    "unknown image key": ("[image.i]\npackges = []\n" + GOOD, "unknown-key", 2, "'packages'"),
    "unknown task key": ("[task.a]\ncomand = ['true']\n", "unknown-key", 2, "'command'"),
    "unknown input key": (
        "[task.a]\ncommand = ['true']\ninputs.x = { form = 'b.o' }\n",
        "unknown-key",
        3,
        "'from'",
    ),
    "unknown output key": (
        "[task.a]\ncommand = ['true']\noutputs.x = { transent = true }\n",
        "unknown-key",
        3,
        "'transient'",
    ),
    "resource of no name": (
        "[task.a]\ncommand = ['true']\nresources = { 'a b' = 1 }\n",
        "wrong-value",
        3,
        "a b",
    ),
    "unknown default": ("[defaults]\nruntme = 'local'\n" + GOOD, "unknown-key", 2, "'runtime'"),
    "wrong type": ("[task.a]\ncommand = 3\n", "wrong-type", 2, "expected text or a list"),
    "wrong type inside": ("[task.a]\ncommand = ['a', 3]\n", "wrong-type", 2, "command[1]"),
    "wrong quantity": (
        "[task.a]\ncommand = ['true']\nresources = { memory = '1 GB' }\n",
        "wrong-value",
        3,
        "512Mi",
    ),
    "number without end": (
        "[task.a]\ncommand = ['true']\nmatrix.m = [1, inf]\n",
        "wrong-value",
        3,
        "finite",
    ),
    "amount without end": (
        f"[task.a]\ncommand = ['true']\nresources = {{ cpu = 1{'0' * 400} }}\n",
        "wrong-value",
        3,
        "greater than zero",
    ),
    "wrong duration": ("[task.a]\ncommand = ['true']\ntimeout = 'x'\n", "wrong-value", 3, "10m"),
    "negative retries": ("[task.a]\ncommand = ['true']\nretries = -1\n", "wrong-value", 3, "0"),
    "unknown image": (
        "[image.science]\n[task.a]\nimage = 'sience'\ncommand = ['true']\n",
        "unknown-image",
        3,
        "'science'",
    ),
    "unknown task": (
        "[task.a]\ncommand = ['true']\noutputs.o = {}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'aa.o' }\n",
        "unknown-task",
        6,
        "'a.o'",
    ),
    "unknown channel": (
        "[task.a]\ncommand = ['true']\noutputs.table = {}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.tabel' }\n",
        "unknown-channel",
        6,
        "'table'",
    ),
    "unknown placeholder": (
        "[task.a]\ncommand = ['echo', '{params.dept}']\nparams.depth = 3\n",
        "unknown-placeholder",
        2,
        "'depth'",
    ),
    "a brace": ("[task.a]\ncommand = \"awk '{print $1}'\"\n", "bad-placeholder", 2, "{{"),
    "unknown axis": (
        "[task.a]\nmatrix.fold = [0]\ncommand = ['true']\noutputs.o = {}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.o', at = { fld = 0 } }\n",
        "unknown-axis",
        7,
        "'fold'",
    ),
    "unknown instance": (
        "[task.a]\nmatrix.fold = [0]\ncommand = ['true']\noutputs.o = {}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.o', at = { fold = 7 } }\n",
        "unknown-instance",
        7,
        "fold=7",
    ),
    "cycle": (
        "[task.a]\ncommand = ['true']\ninputs.x = { from = 'b.o' }\noutputs.o = {}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.o' }\noutputs.o = {}\n",
        "cycle",
        1,
        "a -> b -> a",
    ),
    "one path twice": (
        "[task.a]\ncommand = ['true']\noutputs.o = 'build/x'\n"
        "[task.b]\ncommand = ['true']\noutputs.o = 'build/x'\n",
        "duplicate-output",
        6,
        "a.o",
    ),
    "an output inside another": (
        "[task.a]\ncommand = ['true']\noutputs.o = 'build'\n"
        "[task.b]\ncommand = ['true']\noutputs.o = 'build/x'\n",
        "nested-output",
        6,
        "a.o",
    ),
    "missing input": (
        "[task.a]\ncommand = ['true']\ninputs.x = 'recipe.tml'\n",
        "missing-input",
        3,
        "'recipe.toml'",
    ),
    "a folder of outputs": (
        "[task.a]\ncommand = ['true']\noutputs.o = 'build/x'\n"
        "[task.b]\ncommand = ['true']\ninputs.x = 'build'\n",
        "folder-of-outputs",
        6,
        "from",
    ),
    "outside the project": (
        "[task.a]\ncommand = ['true']\ninputs.x = '../secret'\n",
        "outside-project",
        3,
        "relative",
    ),
    "name with slash": ("[task.'a/b']\ncommand = ['true']\n", "wrong-value", 1, "letters"),
    "name with dots": ("[task.'..']\ncommand = ['true']\n", "wrong-value", 1, "letters"),
    "name with newline": ('[task."a\\nb"]\ncommand = ["true"]\n', "wrong-value", 1, "letters"),
    "name with dash": ("[task.-a]\ncommand = ['true']\n", "wrong-value", 1, "letters"),
    "long name": (f"[task.{'x' * 300}]\ncommand = ['true']\n", "wrong-value", 1, "100"),
    "names by case": (GOOD + "[task.A]\ncommand = ['true']\n", "duplicate-name", 3, "case"),
    "empty command": ("[task.a]\ncommand = []\n", "empty-command", 2, "empty"),
    "empty string": ("[task.a]\ncommand = ' '\n", "empty-command", 2, "empty"),
    "empty matrix": (
        "[task.a]\nmatrix.x = []\ncommand = ['true']\n",
        "empty-matrix",
        2,
        "no values",
    ),
    "axis not in destination": (
        "[task.a]\nmatrix.x = [1, 2]\ncommand = ['true']\noutputs.o = 'o'\n",
        "destination-lacks-axis",
        4,
        "{matrix.x}",
    ),
    "transient destination": (
        "[task.a]\ncommand = ['true']\noutputs.o = { path = 'o', transient = true }\n",
        "transient-destination",
        3,
        "drop",
    ),
    "not TOML": ("[task.a\n", "invalid-toml", 1, "column"),
    "no action": ("[task.a]\ndescription = 'nothing'\n", "no-action", 1, "command"),
    "system package": (
        "[image.i]\nsystem = ['libgomp1']\n[task.a]\nimage = 'i'\ncommand = ['true']\n",
        "system-package",
        2,
        "assume",
    ),
    "unknown runtime": (
        "[defaults]\nruntime = 'dokcer'\n" + GOOD,
        "unknown-runtime",
        None,
        "docker",
    ),
    "undeclared file": (
        "[task.a]\ncommand = ['cat', 'recipe.toml']\n",
        "undeclared-file",
        2,
        "inputs.recipe",
    ),
    "bad mount": (
        "[task.a]\ncommand = ['true']\noutputs.o = { mount = 'x/../y' }\n",
        "bad-mount",
        3,
        "absolute",
    ),
    "long destination": (
        f"[task.a]\ncommand = ['true']\noutputs.p = '{'x' * 300}'\n",
        "name-too-long",
        3,
        "255",
    ),
    "long path": (
        f"[task.a]\ncommand = ['true']\noutputs.p = '{'x/' * 2100}p'\n",
        "name-too-long",
        3,
        "4095",
    ),
    "long destination of two bytes a letter": (
        f"[task.a]\ncommand = ['true']\noutputs.p = '{'ä' * 128}'\n",
        "name-too-long",
        3,
        "256 bytes",
    ),
    "long base name": (
        f"[task.a]\ncommand = ['true']\noutputs.p = {{ name = '{'x' * 300}' }}\n",
        "name-too-long",
        3,
        "shorten",
    ),
    "long input": (
        f"[task.a]\ncommand = ['true']\ninputs.p = '{'x' * 300}'\n",
        "name-too-long",
        3,
        "shorten",
    ),
    "long matrix value, as a folder": (
        f"[task.a]\ncommand = ['true']\nmatrix.q = ['{'ä' * 50}']\noutputs.o = {{}}\n"
        "[task.b]\ncommand = ['true']\ninputs.x = { from = 'a.o' }\n",
        "name-too-long",
        7,
        "short values",
    ),
    **{
        f"long name of {key}": (
            f"[image.i]\n{key} = ['{'x' * 300}']\n[task.a]\nimage = 'i'\ncommand = ['true']\n",
            "name-too-long",
            2,
            "shorten",
        )
        for key in ("projects", "wheels", "sources", "requirements")
    },
    **{
        f"python {given}": (
            f"[image.i]\npython = {given}\n" + GOOD,
            slug,
            2,
            'such as "3.',
        )
        for given, slug in {
            "'three'": "wrong-value",
            "''": "wrong-value",
            "'>=3.11'": "wrong-value",
            "'python3'": "wrong-value",
            "'/usr/bin/python3'": "wrong-value",
            "'3.11.4'": "wrong-value",
            "3.11": "wrong-type",
        }.items()
    },
    "too many instances": (
        "[task.a]\ncommand = ['true']\n"
        + "".join(f"matrix.{axis} = {[*range(220)]}\n" for axis in "abc"),
        "too-many-instances",
        3,
        "10,648,000",
    ),
    "a variable with a value": (
        "[task.a]\ncommand = ['true']\npass_env = ['A=B']\n",
        "bad-variable",
        3,
        "alone",
    ),
    "a variable without a name": (
        "[task.a]\ncommand = ['true']\npass_env = ['']\n",
        "bad-variable",
        3,
        "alone",
    ),
    "a destination in .git": (
        "[task.a]\ncommand = ['true']\noutputs.o = '.git/config'\n",
        "bad-destination",
        3,
        "git's own",
    ),
    "a destination that is the project": (
        "[task.a]\ncommand = ['true']\noutputs.o = '.'\n",
        "bad-destination",
        3,
        "a file or folder in it",
    ),
    "a matrix value that leads upwards": (
        "[task.a]\ncommand = ['true']\nmatrix.q = ['..']\noutputs.o = 'build/{matrix.q}/x'\n",
        "bad-destination",
        4,
        "'build/../x'",
    ),
    "unknown image of the defaults": (
        "[defaults]\nimage = 'nope'\n" + GOOD,
        "unknown-image",
        2,
        "(defaults.image)",
    ),
    "a destination in a file": (
        "[task.a]\ncommand = ['true']\noutputs.o = 'recipe.toml/x'\n",
        "bad-destination",
        3,
        "which is a file",
    ),
    "input and output": (
        "[task.a]\ncommand = ['true']\ninputs.x = 'recipe.toml'\noutputs.x = {}\n",
        "duplicate-name",
        4,
        "both",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_is_told_with_place_and_mend(project: Project, name: str) -> None:
    text, slug, line, said = CASES[name]
    project.write("recipe.toml", text)
    before = sorted(project.root.rglob("*"))
    answer = project.coopery("run")
    assert answer.exit_code == 2, answer.stderr
    assert slug in answer.slugs, answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    block = next(x for x in answer.stderr.split("error: ")[1:] if f"[{slug}]" in x)
    assert said in block
    for told in answer.stderr.split("error: ")[1:]:
        assert "\n  hint: " in told
    if line is not None:
        assert f"recipe.toml:{line} " in block or f"recipe.toml:{line}:" in block, block
    assert sorted(project.root.rglob("*")) == before
    assert not project.home.exists()


def test_all_that_is_wrong_is_told_at_once(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [image.science]
        packges = ["numpy"]

        [task.fit]
        image = "sience"
        matrix.fold = []
        command = ["python", "{inputs.tabel}"]
        inputs.table = "nothing.csv"
        inputs.other = { from = "nobody.table" }
        resources = { cpu = "lots" }

        [task.a]
        command = ["true"]
        inputs.x = { from = "b.o" }
        outputs.o = "build/o"

        [task.b]
        command = ["true"]
        inputs.x = { from = "a.o" }
        outputs.o = "build/o/inner"
        """,
    )
    answer = project.coopery("run")
    assert sorted(answer.slugs) == [
        "cycle",
        "empty-matrix",
        "missing-input",
        "nested-output",
        "unknown-image",
        "unknown-key",
        "unknown-placeholder",
        "unknown-task",
        "wrong-value",
    ]


def test_each_cycle_is_named(project: Project) -> None:
    recipe = "".join(
        f"[task.{name}]\ncommand = ['true']\noutputs.o = {{}}\n"
        + "".join(f"inputs.{need} = {{ from = '{need}.o' }}\n" for need in needs)
        for name, needs in {"a": "b", "b": "ac", "c": "b", "d": "d"}.items()
    )
    project.write("recipe.toml", recipe)
    answer = project.coopery("run")
    assert answer.slugs == ("cycle",) * 3
    for cycle in ("a -> b -> a", "b -> c -> b", "d -> d"):
        assert f"cycle: {cycle} " in answer.stderr


def test_a_command_line_typo_offers_the_nearest_command(project: Project) -> None:
    answer = project.coopery("rnu")
    assert answer.exit_code == 2
    assert "did you mean 'run'?" in answer.stderr


def test_no_recipe(project: Project) -> None:
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert answer.slugs == ("no-recipe",)


@pytest.mark.parametrize("file", ["x" * 300 + ".toml", "x" * 300 + "/recipe.toml"])
def test_the_name_of_the_recipe_is_too_long(project: Project, file: str) -> None:
    answer = project.coopery("run", "-f", file)
    assert answer.exit_code == 2
    assert answer.slugs == ("name-too-long",)
    assert "Traceback" not in answer.stderr


def test_the_name_of_a_copy_is_too_long(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'echo > {outputs.o}'\noutputs.o = {}\n")
    assert project.coopery("run").exit_code == 0
    answer = project.coopery("get", "a.o", "x" * 300)
    assert answer.exit_code == 2
    assert answer.slugs == ("name-too-long",)
    assert project.coopery("get", "a.o", "x" * 255).exit_code == 0


def test_a_script_that_is_no_name_is_run(project: Project) -> None:
    script = f"x = '{'x' * 300}'; x.upper"
    project.write("recipe.toml", f'[task.a]\ncommand = ["python", "-c", "{script}"]\n')
    answer = project.coopery("run")
    assert answer.exit_code == 0, answer.stderr


def test_the_current_folder_is_gone(project: Project) -> None:
    gone = project.root / "gone"
    gone.mkdir()
    script = 'cd gone && rmdir ../gone && exec "$0" -m coopery list'
    answer = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=project.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 3
    assert answer.stderr.startswith("error: the current folder is gone")
    assert answer.stderr.count("\n") == 2


@pytest.mark.parametrize("name", ["recipe.toml", "recipe.py"])
def test_a_recipe_that_cannot_be_read(project: Project, name: str) -> None:
    project.write(name, "").chmod(0)
    # Root reads everything, unless it lays down what makes it root.
    lesser = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    answer = subprocess.run(
        [*lesser, sys.executable, "-m", "coopery", "run"],
        cwd=project.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 2, answer.stderr
    assert "the recipe cannot be read: Permission denied [unreadable]" in answer.stderr
    assert "permissions" in answer.stderr


def test_a_pipe_is_no_input(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = ['true']\ninputs.x = 'pipe'\n")
    os.mkfifo(project.root / "pipe")
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert answer.slugs == ("special-file",)
    assert "recipe.toml:3 " in answer.stderr
    assert not project.home.exists()


SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
STATIC = '[project]\nname = "pk"\nversion = "1"\n'
UNBUILDABLE = {
    "a backend that is not there": (
        {"pyproject.toml": SETUPTOOLS.replace("setuptools.build_meta", "nope.backend") + STATIC},
        "metadata-failed",
        "nope.backend",
    ),
    "build requirements that are not there": (
        {"pyproject.toml": '[build-system]\nrequires = ["./no-such-pkg-zzz"]\n' + STATIC},
        "build-requires",
        "check `requires`",
    ),
    "a setup.py that raises": (
        {"setup.py": "raise RuntimeError('boom')\n"},
        "metadata-failed",
        "boom",
    ),
    "a setup.py that raises, beside static metadata": (
        {"pyproject.toml": SETUPTOOLS + STATIC, "setup.py": "raise RuntimeError('boom')\n"},
        "metadata-failed",
        "boom",
    ),
}


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_a_project_that_cannot_be_built(project: Project, name: str) -> None:
    files, slug, said = UNBUILDABLE[name]
    for file, text in files.items():
        project.write(f"p/{file}", text)
    recipe = "[image.i]\nprojects = ['p']\n[task.a]\nimage = 'i'\ncommand = ['true']\n"
    project.write("recipe.toml", recipe)
    before = sorted(project.root.rglob("*"))
    for _ in range(2):
        answer = project.coopery("run")
        assert answer.exit_code == 2, answer.stderr
        assert answer.stderr.count("error: ") - answer.stderr.count("    error: ") == 1
        assert f" [{slug}]" in answer.stderr
        assert said in answer.stderr
        assert "recipe.toml:2 (image.i.projects[0])" in answer.stderr
        assert "hint: " in answer.stderr
        assert "Traceback" not in answer.stderr
        assert "site-packages" not in answer.stderr
        assert sorted(project.root.rglob("*")) == before


def test_every_project_that_cannot_be_built_is_told(project: Project) -> None:
    for name in "pq":
        project.write(f"{name}/setup.py", f"raise RuntimeError('boom {name}')\n")
    recipe = "[image.i]\nprojects = ['p', 'q']\n[task.a]\nimage = 'i'\ncommand = ['true']\n"
    project.write("recipe.toml", recipe)
    answer = project.coopery("run")
    assert answer.stderr.count("[metadata-failed]") == 2
    assert "boom p" in answer.stderr
    assert "boom q" in answer.stderr


def test_a_project_whose_wheel_cannot_be_built(project: Project) -> None:
    """Its metadata is good, so this is a step's failure; it has a place and a mend all the same."""
    project.write("p/pyproject.toml", SETUPTOOLS + STATIC)
    setup = "import sys, setuptools\nassert 'bdist_wheel' not in sys.argv\nsetuptools.setup()\n"
    project.write("p/setup.py", setup)
    recipe = "[image.i]\nprojects = ['p']\n[task.a]\nimage = 'i'\ncommand = ['true']\n"
    project.write("recipe.toml", recipe)
    answer = project.coopery("run")
    assert answer.exit_code == 1, answer.stderr
    assert "recipe.toml:2 (image.i.projects[0])" in answer.stderr
    assert "mend what the backend complains of" in answer.stderr


def test_a_project_whose_metadata_is_static_is_locked_without_any_index(
    project: Project, tmp_path: Path
) -> None:
    """Its backend is asked for nothing, so nothing of it need be there."""
    project.write("p/pyproject.toml", SETUPTOOLS + STATIC)
    project.write("recipe.toml", "[image.i]\nprojects = ['p']\n" + GOOD + "image = 'i'\n")
    offline = {
        "UV_INDEX_URL": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_HTTP_RETRIES": "0",
    }
    for call in ("run --dry-run", "lock", "lock --check"):
        answer = project.coopery(*call.split(), env=offline)
        assert answer.exit_code == 0, answer.stderr
    assert (project.root / "recipe.lock").exists()
    assert not (project.home / "build-envs").exists()


def test_a_version_that_is_none(project: Project) -> None:
    text = SETUPTOOLS + STATIC.replace('"1"', '"not a version"')
    project.write("p/pyproject.toml", text)
    recipe = "[image.i]\nprojects = ['p']\n[task.a]\nimage = 'i'\ncommand = ['true']\n"
    project.write("recipe.toml", recipe)
    answer = project.coopery("validate", "recipe.toml")
    assert answer.exit_code == 2
    assert "p/pyproject.toml:6 (project.version): 'not a version' is not a version" in answer.stderr


def test_what_is_wrong_in_the_defaults_hides_nothing(project: Project) -> None:
    text = "[defaults]\nimage = 'nope'\nretries = -1\n[task.a]\ncommand = ['true']\n"
    project.write("recipe.toml", text)
    assert project.coopery("run").slugs == ("unknown-image", "wrong-value")


def test_wrong_calls_are_told_at_once(project: Project) -> None:
    """Each at the line of its call; none is a TypeError that would hide the others."""
    project.write(
        "recipe.py",
        """
        from coopery import Image, Input, Output, Project, Retries, command
        i = Image(projects=[Project(".", moed="editable")])
        command("a", 3)
        command("b")
        command("c", ["true"], inputs={"x": Input(orgin="a.o")})
        command("d", ["true"], outputs={"x": Output(pth="x")}, retries=Retries(1, dely=3))
        command("e", ["true"])
        command("e", ["true"], image="nope")
        command("f", ["true"], image="nope")
        """,
    )
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert sorted(answer.slugs) == [
        "duplicate-name",
        "no-action",
        "unknown-image",
        *["unknown-key"] * 4,
        "wrong-type",
    ]
    for line, said in {2: "moed", 3: "a list", 4: "command", 5: "orgin", 6: "dely"}.items():
        assert any(
            f"recipe.py:{line} " in told and said in told for told in answer.stderr.split("error: ")
        ), answer.stderr


def test_tasks_of_one_name_hide_nothing(project: Project) -> None:
    text = "from coopery import command\n" + "command('a', ['true'], image='nope')\n" * 2
    project.write("recipe.py", text)
    assert sorted(project.coopery("run").slugs) == ["duplicate-name", "unknown-image"]


def test_wrong_options_of_pyproject_have_a_line(project: Project) -> None:
    project.write("recipe.toml", GOOD)
    text = "[tool.other]\njobs = 1\n[tool.coopery]\njobs = 'many'\nruntme = 'x'\n"
    project.write("pyproject.toml", text)
    answer = project.coopery("run")
    assert "pyproject.toml:4 (tool.coopery.jobs)" in answer.stderr
    assert "pyproject.toml:5 (tool.coopery.runtme)" in answer.stderr
    project.write("pyproject.toml", "[tool]\ncoopery.runtime = 'local'\nx = [1\n")
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert "pyproject.toml:3: " in answer.stderr
    project.write("pyproject.toml", "x = [1\n")
    assert project.coopery("run").exit_code == 0


def test_an_input_that_is_a_link_to_elsewhere(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = ['true']\ninputs.x = 'link'\n")
    (project.root / "link").symlink_to("/etc/hostname")
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert answer.slugs == ("link-outside",)
    assert "recipe.toml:3 " in answer.stderr
    assert not project.home.exists()


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_an_input_folder_that_cannot_be_given_is_told_before_anything_runs(
    project: Project, what: str
) -> None:
    project.write(
        "recipe.toml",
        "[task.first]\ncommand = 'echo > {outputs.o}'\noutputs.o = 'made'\n"
        "[task.a]\ncommand = ['true']\ninputs.x = 'd'\n",
    )
    project.write("d/sub/file", "1")
    if what == "link":
        (project.root / "d/sub/away").symlink_to("/etc/hostname")
    else:
        os.mkfifo(project.root / "d/sub/away")
    answer = project.coopery("run")
    assert answer.exit_code == 2, answer.stderr
    assert answer.slugs == ("link-outside" if what == "link" else "special-file",)
    assert "recipe.toml:6 (task.a.inputs.x)" in answer.stderr
    assert "d/sub/away is a" in answer.stderr
    if what == "link":
        assert "/etc/hostname" in answer.stderr
    assert "\n  hint: " in answer.stderr
    assert not (project.root / "made").exists()
    assert project.coopery("run", "first").exit_code == 0


@pytest.mark.parametrize(
    "call", ["list -j 2", "why a -j 2", "plugins -r local", "schema --home x", "init --home x"]
)
def test_a_flag_that_would_be_ignored_is_refused(project: Project, call: str) -> None:
    project.write("recipe.toml", GOOD)
    answer = project.coopery(*call.split())
    assert answer.exit_code == 2
    assert answer.slugs == ("bad-command-line",)


def test_the_variable_that_forbids_to_change_the_lock_is_heeded(project: Project) -> None:
    project.write("recipe.toml", GOOD)
    project.write("recipe.lock", "damaged")
    answer = project.coopery("lock", env={"COOPERY_LOCKED": "1"})
    assert answer.exit_code == 2
    assert answer.slugs == ("lock-outdated",)
    assert project.read("recipe.lock") == "damaged"
