"""Bases made by hand, wheels in a folder, blueprints as values, and a real engine to build them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import coopery_images
from coopery.contexts import Entry, entries_of, write_tar
from coopery.dependencies import IndexOptions, Layer, Pin, Stage
from coopery.images import Base, Blueprint
from coopery.model import HOST_PYTHON, Image, Recipe
from coopery.options import Settings, read_settings
from coopery.steps import FileSet, FileSource, Made, Need, Step, StepSource, Workspace

REFERENCE = "python:3.11-slim"
LABEL = "coopery.test"


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    files: Mapping[str, str] | None = None,
    scripts: Sequence[str] = (),
    damage: bool = False,
) -> Path:
    """A small wheel; `scripts` are its console scripts, which call `main` of its module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = dict(files or {f"{module}.py": f"def main():\n    print({name!r}, {version!r})\n"})
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if scripts:
        lines = "".join(f"{script} = {module}:main\n" for script in scripts)
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    record = ""
    for path, text in members.items():
        content = text.encode() + (b"#" if damage and path.endswith(".py") else b"")
        value = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={value},{len(text.encode())}\n"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in {**members, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path, (1990, 1, 1, 0, 0, 0)), text)
    return file


def pin_of(wheel: Path) -> Pin:
    """The pin of a wheel's distribution, with the wheel's hash."""
    name, version = wheel.name.split("-")[:2]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Pin(name=name.replace("_", "-"), version=version, hashes=(f"sha256:{digest}",))


@dataclass
class Bench:
    """A recipe in a folder, and what the engine would do with its images."""

    root: Path
    home: Path
    base: Base
    made: dict[str, Path] = field(default_factory=dict)

    @property
    def shelf(self) -> Path:
        """The folder of wheels that stands for an index."""
        return self.root.parent / "shelf"

    def recipe(
        self, *facets: object, recipe_facets: tuple[object, ...] = (), **more: Any
    ) -> Recipe:
        image = Image(name="science", facets=facets, **{"python": "3.11", **more})
        file = self.root / "recipe.toml"
        return Recipe(
            file=file, root=self.root, images={"science": image}, tasks={}, facets=recipe_facets
        )

    def settings(self, *given: str) -> Settings:
        environ = {"COOPERY_BASE_VERSION": ",".join(given)} if given else {}
        kinds = tuple(coopery_images.declare_options())
        return read_settings(kinds, start=self.root, environ=environ)

    def packages(self, *wheels: Path) -> Layer:
        """The layer of packages that an index has."""
        index = IndexOptions(find_links=(str(self.shelf),), no_index=True)
        pins = tuple(pin_of(wheel) for wheel in wheels)
        return Layer(name="packages", stage=Stage.DEPENDENCIES, pins=pins, index=index)

    def own(self, *wheels: Path) -> Layer:
        """The layer of wheel files of the project."""
        needs = []
        for wheel in wheels:
            name = wheel.name.split("-")[0].replace("_", "-")
            source = FileSource(path=wheel.parent, shown=wheel.name)
            needs.append(Need(role=f"wheel {name}", source=source, name=name))
        return Layer(name="wheels", stage=Stage.WHEELS, wheels=tuple(needs))

    def sources(self, *paths: str) -> Layer:
        """The layer of files and folders of the project."""
        needs = []
        for path in paths:
            found = self.root / path
            source: FileSource | FileSet = FileSource(path=found, shown=path)
            if found.is_dir():
                files = tuple(sorted(str(f.relative_to(found)) for f in found.rglob("*")))
                source = FileSet(root=found, files=files, shown=path)
            needs.append((path, Need(role=f"source {path}", source=source)))
        return Layer(name="sources", stage=Stage.SOURCES, files=tuple(needs))

    def blueprint(self, *layers: Layer, recipe: Recipe | None = None) -> Blueprint:
        recipe = recipe or self.recipe()
        ordered = sorted(layers, key=lambda layer: (layer.stage, layer.name))
        image = recipe.images["science"]
        found = coopery_images.render_image(recipe, image, ordered, self.base, Settings({}))
        assert found is not None
        return found

    def perform(self, step: Step, cancelled: threading.Event | None = None) -> tuple[Made, Path]:
        """Do a step's work in a fresh folder of the home."""
        folder = self.home / "places" / uuid.uuid4().hex[:8]
        folder.mkdir(parents=True)
        inputs = {}
        for need in step.needs:
            match need.source:
                case FileSource(path=path):
                    inputs[need.role] = path
                case StepSource(step=name, inside=inside):
                    inputs[need.role] = self.made[name] / inside
        workspace = Workspace(
            step=step,
            folder=folder,
            inputs=inputs,
            gathered={},
            log=self.home / f"{folder.name}.log",
            home=self.home,
            key="0",
            cancelled=cancelled or threading.Event(),
        )
        made = coopery_images.perform(step, workspace)
        assert made is not None
        self.made[step.name] = folder
        return made, folder

    def make(self, blueprint: Blueprint) -> None:
        for step in blueprint.steps:
            self.perform(step)

    def entries(self, blueprint: Blueprint, *names: str) -> Iterator[Entry]:
        """The context of these parts, of all when none is named."""
        for part in blueprint.parts:
            for item in part.copies if not names or part.name in names else ():
                match item.need.source:
                    case StepSource(step=step, inside=inside):
                        source = self.made[step] / inside
                    case FileSource(path=source) | FileSet(root=source):
                        pass
                yield from entries_of(source, item.path, writable=item.writable)


@dataclass
class Engine:
    """A real engine; what is built through it is labelled, and removed at the end."""

    client: Any
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def build(self, dockerfile: str, entries: Sequence[Entry] = (), *, buildkit: bool) -> str:
        """Build a context as the plain client sends it; the image's id."""
        buffer = io.BytesIO()
        head = Entry(path="Dockerfile", mode=0o644, content=dockerfile.encode())
        write_tar([head, *entries], buffer)
        return self.build_tar(buffer.getvalue(), buildkit=buildkit)

    def build_tar(self, context: bytes, *, buildkit: bool) -> str:
        """As `build`, of a whole context. Raises AssertionError with the builder's story."""
        api = self.client.api
        tag = f"coopery-test-{self.mark}:{uuid.uuid4().hex[:8]}"
        params = {"t": tag, "version": "2" if buildkit else "1", "rm": True, "forcerm": True}
        params["labels"] = json.dumps({LABEL: self.mark})
        response = api._post(
            api._url("/build"),
            data=context,
            params=params,
            headers={"Content-Type": "application/x-tar"},
        )
        story = response.text
        assert response.status_code == 200, story
        wrong = [json.loads(x)["error"] for x in story.splitlines() if '"error"' in x]
        if wrong:
            told = base64.b64encode(b"").decode()
            lines = [json.loads(x) for x in story.splitlines()]
            told = "".join(x.get("stream", "") for x in lines)
            logs = [base64.b64decode(x["aux"]) for x in lines if isinstance(x.get("aux"), str)]
            raise AssertionError(f"{wrong[0]}\n{told}\n{b''.join(logs)!r}")
        return str(self.client.images.get(tag).id)

    def config(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.api.inspect_image(image)["Config"]
        return found

    def run(self, image: str, *command: str, **more: Any) -> str:
        """What a command prints in a container of an image."""
        container = self.client.containers.create(
            image,
            list(command),
            network_mode="none",
            labels={LABEL: self.mark},
            **more,
        )
        try:
            # Attached before it starts: what a container says at its very end is not in its log yet
            # when the engine says that it has ended.
            said = container.attach(stdout=True, stderr=True, stream=True)
            container.start()
            text = b"".join(said).decode()
            assert container.wait()["StatusCode"] == 0, text
            return text
        finally:
            container.remove(force=True)

    def close(self) -> None:
        from docker import errors

        mine = {"filters": {"label": f"{LABEL}={self.mark}"}}
        for container in self.client.containers.list(all=True, **mine):
            container.remove(force=True)
        # Labels are inherited: what coopery built upon an image of a test is listed, too, and goes
        # before what it was built upon. What others still build upon is theirs to remove.
        before: list[str] = []
        while (left := [image.id for image in self.client.images.list(**mine)]) != before:
            for image in left:
                try:
                    self.client.images.remove(image, force=True)
                except errors.APIError as error:
                    if error.status_code not in (404, 409):
                        raise
            before = left
        self.client.close()


@pytest.fixture(scope="session")
def engine(sdk_engine: Any) -> Iterator[Engine]:
    """The engine of this machine, with the base image; what is without one is told there."""
    import docker

    found = Engine(docker.from_env())
    yield found
    found.close()


@pytest.fixture
def base() -> Base:
    """The base as an engine would tell of it."""
    return Base(
        reference=REFERENCE,
        id="sha256:" + "1" * 64,
        platform="linux/amd64",
        python="3.11.2",
        executable="/usr/bin/python3",
        libc="glibc 2.36",
    )


@pytest.fixture
def bench(tmp_path: Path, base: Base) -> Bench:
    root = tmp_path / "project"
    root.mkdir()
    (root / "recipe.toml").write_text("")
    return Bench(root=root, home=tmp_path / "home", base=base)


@pytest.fixture
def wheel(bench: Bench) -> Callable[..., Path]:
    """Make a wheel in the folder that stands for an index."""

    def make(name: str, version: str = "1.0", **more: Any) -> Path:
        return write_wheel(bench.shelf, name, version, **more)

    return make


@pytest.fixture
def own_wheel(tmp_path: Path) -> Callable[..., Path]:
    """Make a wheel of the project, in a folder of its own."""

    def make(name: str, version: str = "1.0", **more: Any) -> Path:
        return write_wheel(tmp_path / "own" / name, name, version, **more)

    return make


__all__ = ["HOST_PYTHON", "Bench", "Engine", "pin_of", "write_wheel"]
