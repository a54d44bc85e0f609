"""A third party's plugin beside the installed wheel, and doing without each builtin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from coopery.testing import Answer, Project

ROOT = Path(__file__).parents[2]
BUILTIN = sorted(
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
        "coopery"
    ]
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheels of coopery and of the third party; its `bin`."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist")]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    subprocess.run([*build, str(ROOT / "tests/thirdparty")], check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    wheels = [str(wheel) for wheel in (folder / "dist").glob("*.whl")]
    assert len(wheels) == 2
    pip = [str(folder / "venv/bin/pip"), "install", "--quiet", *wheels]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "venv" / "bin"


def call(bin_: Path, project: Project, *arguments: str) -> Answer:
    """The installed command."""
    done = subprocess.run(
        [str(bin_ / "coopery"), *arguments],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def test_a_third_party_adds_a_command_a_layer_and_a_runtime(
    installed: Path, project: Project
) -> None:
    assert call(installed, project, "greet").stdout == "hello from the cellar\n"
    names = [p["name"] for p in json.loads(call(installed, project, "plugins", "--json").stdout)]
    assert names == sorted([*BUILTIN, "cellar"])
    project.write(
        "recipe.toml",
        """
        [image.i]
        motd = "carpe diem"

        [task.a]
        image = "i"
        command = 'echo "$MOTD" > {outputs.o}'
        outputs.o = "o"
        """,
    )
    for runtime in ("bare", "local"):
        answer = call(installed, project, "run", "-r", runtime, "--json", "--force")
        assert answer.exit_code == 0, answer.stderr
        assert project.read("o") == "carpe diem\n"
        kinds = [step["kind"] for step in answer.json["steps"]]
        assert kinds == {"bare": ["task"], "local": ["environment", "task"]}[runtime]
    typo = project.read("recipe.toml").replace("motd", "modt")
    project.write("recipe.toml", typo)
    assert "did you mean 'motd'?" in call(installed, project, "run").stderr


@pytest.mark.parametrize("name", BUILTIN)
def test_without_a_builtin(project: Project, name: str) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'echo x > {outputs.o}'\noutputs.o = 'o'\n")
    answer = project.coopery("--without", name, "run")
    assert "Traceback" not in answer.stderr
    expected = {
        "commands": "unknown-key",
        "local": "unknown-runtime",
        "run": "bad-command-line",
        "scheduler": "no-scheduler",
        "store": "no-store",
        "toml": "no-recipe",
    }
    if name in expected:
        assert answer.exit_code in (2, 3), answer.stderr
        assert expected[name] in answer.slugs
    else:
        assert answer.exit_code == 0, answer.stderr
        assert project.read("o") == "x\n"


def test_an_error_says_that_a_plugin_was_left_out(project: Project) -> None:
    project.write("recipe.toml", "[image.i]\npackages = ['humanize']\n")
    answer = project.coopery("--without", "lock", "list")
    assert answer.slugs == ("unknown-key",)
    assert "note: left out by --without: lock; it may be missed here" in answer.stderr
    assert "note:" not in project.coopery("list", "-f", "no.toml").stderr


def test_without_an_unknown_plugin(project: Project) -> None:
    answer = project.coopery("--without", "stroe", "list")
    assert (answer.exit_code, answer.slugs) == (2, ("unknown-plugin",))
    assert "did you mean 'store'?" in answer.stderr


def test_version_needs_no_plugin(project: Project) -> None:
    code = (
        "import sys, coopery.cli; coopery.cli.main(['--version']);"
        "print(sorted(m for m in sys.modules if m.startswith(('coopery', 'pluggy', 'argparse'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'coopery', 'coopery.cli'" in done.stdout
    assert "pluggy" not in done.stdout


def test_startup_imports_nothing_heavy(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = ['true']\n")
    code = (
        "import sys, coopery.cli; coopery.cli.main(['list']);"
        "heavy = {'cloudpickle', 'packaging', 'pathspec', 'build', 'uv', 'sqlite3', 'docker',"
        " 'rich', 'asyncio', 'http.client', 'multiprocessing', 'unittest'};"
        "print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True
    )
    assert "heavy: []" in done.stderr
