"""Small real projects, wheels made by hand, and the hooks called as the engine calls them."""

from __future__ import annotations

import base64
import hashlib
import shutil
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import coopery_wheels
from coopery.dependencies import Lock
from coopery.model import Image, Project, Recipe
from coopery.steps import FileSet, FileSource, Made, Step, Workspace
from coopery_wheels.nouns import Projects, Wheels

HATCH = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "Iris_Kit"
version = "1.2"
requires-python = ">=3.9"
dependencies = [
    "numpy>=1",
    'rich; python_version < "3.8"',
]

[project.optional-dependencies]
plot = ["matplotlib"]
all = ["iris-kit[plot]", "pandas"]

[tool.hatch.build.targets.wheel]
packages = ["iris_kit"]
"""


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def make_wheel(
    folder: Path,
    filename: str = "tiny-1.0-py3-none-any.whl",
    *,
    name: str = "tiny",
    version: str = "1.0",
    files: Mapping[str, bytes] = {"tiny.py": b"x = 1\n"},
    headers: str = "",
    record: Callable[[list[str]], list[str]] = lambda lines: lines,
) -> Path:
    info = f"{name}-{version}.dist-info"
    described = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}"
    members = {
        **files,
        f"{info}/METADATA": described.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    lines = record([record_line(n, c) for n, c in members.items()])
    members[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / filename, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return folder / filename


BACKEND = """\
import base64, hashlib, zipfile
FILES = {
    "made-7.dist-info/METADATA": "Metadata-Version: 2.1\\nName: made\\nVersion: 7\\n",
    "made-7.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n",
}
def build_wheel(folder, settings=None, metadata=None):
    lines = ["made-7.dist-info/RECORD,,"]
    with zipfile.ZipFile(f"{folder}/made-7-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            digest = hashlib.sha256(text.encode()).digest()
            value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            lines.append(f"{name},sha256={value},{len(text)}")
            archive.writestr(name, text)
        archive.writestr("made-7.dist-info/RECORD", "\\n".join(lines))
    return "made-7-py3-none-any.whl"
"""


def make_backend(folder: Path) -> Path:
    """A wheel of a build backend, `own-backend`, that makes the same wheel of any project."""
    return make_wheel(
        folder,
        "own_backend-1-py3-none-any.whl",
        name="own_backend",
        version="1",
        files={"own_backend.py": BACKEND.encode()},
    )


class Bench:
    """A recipe in a folder, and what the engine would do with it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.root = folder
        self.home = home
        self.count = 0

    def recipe(
        self,
        *projects: Project | str,
        wheels: tuple[str, ...] = (),
        python: str | None = None,
        **changes: object,
    ) -> Recipe:
        items = tuple(Project(p) if isinstance(p, str) else p for p in projects)
        facets = (Projects(items), Wheels(wheels))
        images = {"a": Image(name="a", python=python, facets=facets)}
        file = self.root / "recipe.toml"
        values = {"images": images, "tasks": {}, **changes}
        return Recipe(file=file, root=self.root, **values)  # type: ignore[arg-type]

    def slugs(self, recipe: Recipe) -> list[str]:
        return [problem.slug for problem in coopery_wheels.check(recipe)]

    def steps(self, recipe: Recipe, image: str = "a", lock: Lock | None = None) -> tuple[Step, ...]:
        lock = lock or Lock()
        layers = list(coopery_wheels.add_layers(recipe, recipe.images[image], lock, self.home))
        return tuple(step for layer in layers for step in layer.steps)

    def perform(self, step: Step, cancelled: threading.Event | None = None) -> tuple[Made, Path]:
        self.count += 1
        folder = self.home / f"scratch-{self.count}"
        folder.mkdir(parents=True)
        inputs = {}
        for need in step.needs:
            match need.source:
                case FileSet(root=root, files=files):
                    clean = self.home / f"clean-{self.count}"
                    for name in files:
                        (clean / name).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(root / name, clean / name, follow_symlinks=False)
                    inputs[need.role] = clean
                case FileSource(path=path):
                    # As from a store: under a name that is not the wheel's.
                    inputs[need.role] = Path(shutil.copy(path, self.home / f"in-{self.count}"))
        workspace = Workspace(
            step=step,
            folder=folder,
            inputs=inputs,
            gathered={},
            log=self.home / f"log-{self.count}",
            home=self.home,
            key="k",
            cancelled=cancelled or threading.Event(),
        )
        made = coopery_wheels.perform(step, workspace)
        assert made is not None
        (wheel,) = made.outputs["wheel"].iterdir()
        return made, wheel


@pytest.fixture(scope="session")
def build_envs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build environments, made once for all tests."""
    return tmp_path_factory.mktemp("build-envs")


@pytest.fixture
def bench(tmp_path: Path, build_envs: Path) -> Bench:
    home = tmp_path / "home"
    home.mkdir()
    (home / "build-envs").symlink_to(build_envs)
    folder = tmp_path / "work"
    folder.mkdir()
    return Bench(folder, home)
