"""What changes an image's key, what does not, and how `why` names it.

The runtime is one that builds nothing: keys are made before any engine is asked. All else is real:
the lock, the resolver over a folder of wheels, the wheels, the trees of packages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coopery.reasons import UNRECORDED
from coopery.testing import Project, make_project

from .conftest import write_wheel

RUNTIME = '''
"""Images that are noted and not built, and tasks that only make their outputs."""
import json
from pathlib import Path

from coopery.dependencies import ImagePlan
from coopery.hooks import hookimpl
from coopery.images import Base, ImageBuild, plan_builds
from coopery.steps import Made, Need, StepSource
from coopery.tasks import TaskWork


@hookimpl
def runtime_names():
    return ["paper"]


@hookimpl
def wants_bases(runtime):
    return True if runtime == "paper" else None


@hookimpl
def inspect_base(reference, runtime):
    if runtime == "paper":
        digest = Path("digest").read_text().strip()
        return Base(
            reference=reference, id=digest, digest=digest, platform="linux/amd64",
            python=Path("python").read_text().strip(), executable="/usr/bin/python3",
            libc="glibc 2.36",
        )


@hookimpl
def plan_image(runtime, render):
    if runtime == "paper":
        blueprint = render()
        builds = plan_builds(blueprint, "paper")
        source = StepSource(step=builds[-1].name, output="image")
        need = Need(role="image", source=source)
        return ImagePlan(steps=(*blueprint.steps, *builds), need=need)


@hookimpl
def perform(step, workspace):
    match step.work:
        case ImageBuild(runtime="paper"):
            return Made(outputs={"image": workspace.folder})
        case TaskWork(runtime="paper"):
            (workspace.folder / "out").write_text("out")
            return Made(outputs={"out": workspace.folder / "out"})
'''
RECIPE = """
[image.science]
python = "3.11"
base = "registry.example/python:3.11"
requirements = "requirements.txt"
projects = ["mine"]
wheels = ["own/given-1.0-py3-none-any.whl"]
sources = [{ path = "src", exclude = ["*.log"] }, "run.sh"]
system = ["libgomp1", "zlib1g"]
env = { MODE = "fast", LEVEL = "3" }
description = "For science."

[image.other]
sources = ["run.sh"]

[task.t]
image = "science"
command = "true"
outputs.out = {}
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["backend"]

[project]
name = "mine"
version = "1.0"
dependencies = ["alpha"]
"""
BACKEND = '''
"""A build backend that needs nothing."""
import base64, hashlib, tomllib, zipfile


def build_wheel(folder, settings=None, metadata=None):
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    name, info = f"mine-{project['version']}", f"mine-{project['version']}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\\n" for line in project["dependencies"])
    with open("lib/mine/__init__.py") as file:
        code = file.read()
    files = {
        "mine/__init__.py": code,
        f"{info}/METADATA":
            f"Metadata-Version: 2.1\\nName: mine\\nVersion: {project['version']}\\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = ""
    with zipfile.ZipFile(f"{folder}/{name}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{path},sha256={digest.rstrip(b'=').decode()},{len(text)}\\n"
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\\n")
    return f"{name}-py3-none-any.whl"
'''


@dataclass
class Bench:
    """A project with an image of all kinds of parts."""

    project: Project

    def fill(self) -> None:
        project = self.project
        project.plugin("paper", RUNTIME)
        for version in ("1.0", "1.1"):
            for name in ("alpha", "beta", "gamma"):
                write_wheel(project.root / "shelf", name, version)
        write_wheel(project.root / "own", "given")
        files = {
            "recipe.toml": RECIPE,
            "mine/pyproject.toml": PROJECT,
            "mine/backend/backend.py": BACKEND,
            "requirements.txt": "--no-index\n--find-links shelf\nalpha==1.0\n-r more/inner.txt\n",
            "more/inner.txt": "beta==1.0\n",
            "mine/lib/mine/__init__.py": "VALUE = 1\n",
            "README.md": "About.\n",
            "src/code.py": "VALUE = 1\n",
            "src/data.txt": "1\n",
            "src/note.log": "1\n",
            "run.sh": "#!/bin/sh\n",
            "digest": "sha256:" + "1" * 64 + "\n",
            "python": "3.11.2\n",
        }
        for name, text in files.items():
            project.write(name, text)

    def key(self) -> str:
        """The key of the image, after a run."""
        ended = self.project.coopery("run", "-r", "paper", "--json", "t")
        assert ended.exit_code == 0, ended.stderr
        (key,) = {s["key"] for s in ended.json["steps"] if s["step"] == "image science"}
        return str(key)

    def edit(self, file: str, old: str, new: str) -> None:
        text = self.project.read(file)
        assert text.count(old) == 1, (file, old)
        self.project.write(file, text.replace(old, new))

    def upgrade(self) -> None:
        ended = self.project.coopery("lock", "-r", "paper", "--upgrade")
        assert ended.exit_code == 0, ended.stderr


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project that has run, to be copied; its image's key."""
    folder = tmp_path_factory.mktemp("prepared")
    bench = Bench(make_project(folder))
    bench.fill()
    return folder, bench.key()


@pytest.fixture
def bench(prepared: tuple[Path, str], tmp_path: Path) -> Bench:
    found = Bench(make_project(tmp_path))
    shutil.copytree(prepared[0], tmp_path, dirs_exist_ok=True, symlinks=True)
    assert found.key() == prepared[1]  # all of it is remembered, and from now on for this recipe
    return found


def _source_mode(bench: Bench) -> None:
    (bench.project.root / "run.sh").chmod(0o755)


def _base(bench: Bench) -> None:
    bench.project.write("digest", "sha256:" + "2" * 64 + "\n")
    bench.upgrade()


def _own_wheel(bench: Bench) -> None:
    changed = {"given.py": "VALUE = 2\n"}
    write_wheel(bench.project.root / "own", "given", files=changed)


def _repacked(bench: Bench) -> None:
    """A published file of the same version with other bytes: another hash in the lock."""
    write_wheel(bench.project.root / "shelf", "beta", files={"beta.py": "VALUE = 2\n"})
    bench.upgrade()


def _moved(bench: Bench) -> None:
    bench.edit("recipe.toml", '"run.sh"]\nsystem', '{ path = "run.sh", to = "bin/go" }]\nsystem')


Change = Callable[[Bench], object]


def editing(file: str, old: str, new: str) -> Change:
    return lambda bench: bench.edit(file, old, new)


MATTERS: dict[str, tuple[Change, str]] = {
    "a package's version": (editing("requirements.txt", "alpha==1.0", "alpha==1.1"), "alpha"),
    "a nested file": (editing("more/inner.txt", "beta==1.0", "beta==1.1"), "beta"),
    "one package more": (editing("more/inner.txt", "beta==1.0", "beta==1.0\ngamma==1.0"), "gamma"),
    "one package less": (editing("requirements.txt", "-r more/inner.txt\n", ""), "beta"),
    "a package's file": (_repacked, "beta"),
    "the base": (_base, "base image registry.example/python:3.11"),
    "another base": (
        editing("recipe.toml", "python:3.11", "python:3.11-bullseye"),
        "",  # the same image by another name is the same image
    ),
    "a system package": (editing("recipe.toml", '"zlib1g"]', '"zlib1g", "curl"]'), "curl"),
    "one system package less": (editing("recipe.toml", ', "zlib1g"]', "]"), "zlib1g"),
    "a variable": (editing("recipe.toml", 'MODE = "fast"', 'MODE = "slow"'), "MODE"),
    "a variable more": (editing("recipe.toml", 'MODE = "fast"', 'MODE = "fast", B = "1"'), "B"),
    "a source's line": (editing("src/code.py", "1", "2"), "code.py"),
    "a source's mode": (_source_mode, "run.sh"),
    "a source more": (lambda bench: bench.project.write("src/new.py", ""), "new.py"),
    "a source less": (lambda bench: (bench.project.root / "src/data.txt").unlink(), "data.txt"),
    "a source's place": (_moved, "bin/go"),
    "what is left out": (editing("recipe.toml", '"*.log"', '"*.txt"'), "note.log"),
    "a line of the project": (editing("mine/lib/mine/__init__.py", "1", "2"), "mine"),
    "the project's version": (editing("mine/pyproject.toml", '"1.0"', '"1.1"'), "mine"),
    "the project's dependency": (
        editing("mine/pyproject.toml", '["alpha"]', '["alpha", "gamma"]'),
        "gamma",
    ),
    "a wheel file": (_own_wheel, "given"),
    "one wheel file less": (
        editing("recipe.toml", 'wheels = ["own/given-1.0-py3-none-any.whl"]', "wheels = []"),
        "given",
    ),
}
SAME = ("another base",)


@pytest.mark.parametrize("name", [name for name in MATTERS if name not in SAME])
def test_what_matters_changes_the_key_and_is_named(
    bench: Bench, prepared: tuple[Path, str], name: str
) -> None:
    change, said = MATTERS[name]
    change(bench)
    told = bench.project.coopery("why", "-r", "paper", "t", "science")
    assert told.exit_code == 0, told.stderr
    assert bench.key() != prepared[1]
    task, head, image = told.stdout.partition("\nimage science: ")
    assert head and not image.startswith("cached"), told.stdout
    # Not only in the way to it, which an image's own name is in.
    assert said in task.partition("\n")[2] and said in image.partition("\n")[2], told.stdout
    assert "what it is built on" not in told.stdout and UNRECORDED not in told.stdout


NEW = {
    "system": ('system = ["libgomp1"]', "instruction RUN is new: apt libgomp1"),
    "packages": ('packages = ["alpha==1.0"]', "package alpha is new"),
    "projects": ('projects = ["mine"]', "check mine"),
    "sources": ('sources = ["src"]', "copy sources/work/src (src) is new"),
    "env": ('env = { MODE = "fast" }', 'instruction ENV MODE is new: MODE="fast"'),
}
BESIDE = {"": "", "sources": 'sources = ["run.sh"]\n', "packages": 'packages = ["beta==1.0"]\n'}
FIRST = [
    *(("system", ""), ("sources", ""), ("env", ""), ("packages", "sources")),
    *(("system", "sources"), ("system", "packages"), ("projects", "packages")),
]
LAST = [("system", ""), ("system", "packages"), ("sources", "packages")]


@pytest.mark.parametrize(
    ("name", "beside", "gone"),
    [*((*pair, False) for pair in FIRST), *((*pair, True) for pair in LAST)],
)
def test_the_first_of_a_kind_is_named_and_so_is_the_last(
    prepared: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    beside: str,
    gone: bool,
) -> None:
    """With it comes or goes a part of the image; the others, which nobody changed, move."""
    bench = Bench(make_project(tmp_path))
    for folder in ("project", "site"):
        shutil.copytree(prepared[0] / folder, tmp_path / folder, dirs_exist_ok=True)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(bench.project.root / "shelf"))
    line, said = NEW[name]
    head = '[image.science]\npython = "3.11"\nbase = "registry.example/python:3.11"\n'
    tail = '[task.t]\nimage = "science"\ncommand = "true"\noutputs.out = {}\n'
    recipes = [f"{head}{BESIDE[beside]}{more}{tail}" for more in ("", f"{line}\n")]
    before, after = reversed(recipes) if gone else recipes
    bench.project.write("recipe.toml", before)
    bench.key()
    bench.project.write("recipe.toml", after)
    told = bench.project.coopery("why", "-r", "paper", "science")
    assert told.exit_code == 0, told.stderr
    assert (said.replace("is new", "is gone") if gone else said) in told.stdout, told.stdout
    for noise in ("what it is built on", UNRECORDED, "instruction USER", "package is gone"):
        assert noise not in told.stdout, told.stdout


def _order(bench: Bench) -> None:
    bench.edit("recipe.toml", '"libgomp1", "zlib1g"', '"zlib1g", "libgomp1"')
    bench.edit("recipe.toml", 'MODE = "fast", LEVEL = "3"', 'LEVEL = "3", MODE = "fast"')
    text = "--no-index\n--find-links shelf\n-r more/inner.txt\nalpha==1.0\n"
    bench.project.write("requirements.txt", text)


def _other_tables(bench: Bench) -> None:
    head, image, rest = bench.project.read("recipe.toml").partition("[image.other]")
    other, task, tail = rest.partition("[task.t]")
    bench.project.write("recipe.toml", f"{task}{tail}\n{image}{other}\n{head}")


def _times(bench: Bench) -> None:
    for path in bench.project.root.rglob("*"):
        os.utime(path, (10**9, 10**9))


def _umask(bench: Bench) -> None:
    for path in bench.project.root.rglob("*.*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)


DOES_NOT: dict[str, Change] = {
    "the order of declarations": _order,
    "the order of tables": _other_tables,
    "times": _times,
    "the umask": _umask,
    "the description": editing("recipe.toml", "For science.", "For art."),
    "a task": editing("recipe.toml", 'command = "true"', 'command = "true; true"'),
    "a comment": editing("more/inner.txt", "beta==1.0", "# why\nbeta==1.0  # this"),
    "what is left out already": editing("src/note.log", "1", "2"),
    "a file beside": editing("README.md", "About", "More about"),
    "another base of the same digest": MATTERS["another base"][0],
    "another image": editing("recipe.toml", 'sources = ["run.sh"]', 'sources = ["src"]'),
}


@pytest.mark.parametrize("name", DOES_NOT)
def test_what_does_not_matter_does_not(bench: Bench, prepared: tuple[Path, str], name: str) -> None:
    DOES_NOT[name](bench)
    assert bench.key() == prepared[1]


def test_another_home_hash_seed_and_secret(
    prepared: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is remembered there, so that all of it is made anew."""
    (tmp_path / "deeper").mkdir()
    bench = Bench(make_project(tmp_path / "deeper"))
    bench.fill()
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", "s3cret")
    assert bench.key() == prepared[1]


def test_python_is_in_the_key(bench: Bench) -> None:
    recipe = '[image.science]\npython = "3.11"\nsources = ["src"]\n[task.t]\ncommand = "true"\n'
    bench.project.write("recipe.toml", f"{recipe}image = 'science'\noutputs.out = {{}}\n")
    before = bench.key()
    bench.project.write("python", "3.12.1\n")
    bench.edit("recipe.toml", "3.11", "3.12")
    told = bench.project.coopery("why", "-r", "paper", "t")
    assert "Python changed: 3.11 -> 3.12" in told.stdout
    assert bench.key() != before
