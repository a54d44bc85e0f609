"""A folder index of self-made wheels, recipes as values, and a resolver without the network."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import coopery_lock
from coopery.dependencies import (
    Contribution,
    DependencySet,
    IndexOptions,
    LocalDistribution,
    Lock,
)
from coopery.errors import CooperyError, KeyPath, MachineError, Place, Problem
from coopery.images import Base
from coopery.model import Image, Recipe, Secret
from coopery.options import LockPolicy, Settings
from coopery.secrets import Secrets


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *requires: str,
    python: str | None = None,
    tag: str = "py3-none-any",
    more: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """A small wheel, with `more` files than it must have."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Requires-Dist: {line}" for line in requires]
    files = {
        **more,
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = ""
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
            value = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record += f"{file},sha256={value.decode()},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


def make_sdist(folder: Path, name: str, version: str, backend: str | None = None) -> Path:
    """A source distribution, whose build backend is the text `backend`."""
    files = {"PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n"}
    if backend is not None:
        system = '[build-system]\nrequires=[]\nbuild-backend="own"\nbackend-path=["."]\n'
        files |= {"pyproject.toml": system, "own.py": backend}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{file}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@dataclass
class Bench:
    """A project folder with images, as the engine would drive the plugin."""

    root: Path
    index: Path
    images: dict[str, Image] = field(default_factory=dict)
    locals: tuple[LocalDistribution, ...] = ()
    told: list[str] = field(default_factory=list)
    host: str = "3.11"
    """The Python that runs coopery, for images that name none."""
    bases: dict[str, str] = field(default_factory=dict)
    """By image, the reference of its base; none under a runtime that makes no images."""
    engine: dict[str, Base | CooperyError] = field(default_factory=dict)
    """What an inspection of a reference comes to."""
    inspected: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        file = self.root / "recipe.toml"

        def locate(key: KeyPath) -> Place:
            return Place(
                file="recipe.toml", line=1 + sum(p for p in key if isinstance(p, int)), key=key
            )

        return Recipe(file=file, root=self.root, images=self.images, tasks={}, locate=locate)

    def image(
        self,
        *packages: str,
        name: str = "a",
        requirements: str | None = None,
        python: str | None = "3.11",
    ) -> Image:
        facets: list[object] = [coopery_lock.Packages(lines=packages)] if packages else []
        if requirements is not None:
            (self.root / "requirements.txt").write_text(requirements)
            facets.append(coopery_lock.Requirements(files=("requirements.txt",)))
        self.images[name] = Image(name=name, python=python, facets=tuple(facets))
        return self.images[name]

    def collect(self, name: str = "a") -> Contribution:
        found = coopery_lock.collect_requirements(self.recipe, self.images[name])
        return found or Contribution()

    def problems(self) -> list[Any]:
        return list(coopery_lock.check(self.recipe))

    def lock(self, policy: LockPolicy = LockPolicy.RENEW, *, limit: float = 60.0) -> Lock:
        return self.resolve(self.sets(), policy, limit)

    def sets(self) -> list[DependencySet]:
        sets = []
        for name, image in self.images.items():
            found = self.collect(name)
            sets.append(
                DependencySet(
                    image=name,
                    python=image.python or self.host,
                    requirements=found.requirements,
                    locals=self.locals,
                    index=found.index,
                    base=self.bases.get(name),
                )
            )
        return sets

    def resolve(self, sets: list[DependencySet], policy: LockPolicy, limit: float = 60.0) -> Lock:
        from coopery.options import Sourced

        values: dict[type, dict[str, Sourced]] = {
            coopery_lock.LockOptions: {"resolve_timeout": Sourced(limit, "flag")}
        }
        self.told.clear()
        self.inspected.clear()
        settings = Settings(values)
        tell = self.told.append
        secrets = Secrets(self.provide)
        return coopery_lock.resolve(
            self.recipe, sets, policy, settings, tell, self.inspect, secrets
        )

    def provide(self, secret: Secret) -> str:
        if secret.name in self.secrets:
            return self.secrets[secret.name]
        raise MachineError(Problem(slug="secret-missing", message=f"no secret {secret.name}"))

    def inspect(self, reference: str) -> Base:
        self.inspected.append(reference)
        found = self.engine[reference]
        if isinstance(found, CooperyError):
            raise found
        return found

    @property
    def lock_text(self) -> str:
        return self.recipe.lock_file.read_text()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine's, and no network."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project beside a folder index: `alpha` 1.0 and 2.0, `beta` and `gamma` that contradict."""
    index = tmp_path / "index"
    make_wheel(index, "alpha", "1.0")
    make_wheel(index, "alpha", "2.0")
    make_wheel(index, "beta", "1.0", "alpha<2")
    make_wheel(index, "gamma", "1.0", "alpha>=2")
    make_wheel(index, "my-local", "9.9")
    make_wheel(index, "uses-local", "1.0", "my-local>=2")
    make_wheel(index, "future", "1.0", python=">=3.99")
    make_wheel(index, "needs-lost", "1.0", "lost>=1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    root = tmp_path / "project"
    root.mkdir()
    return Bench(root=root, index=index)


@pytest.fixture
def wheel() -> Callable[..., Path]:
    return make_wheel


@pytest.fixture
def sdist() -> Callable[..., Path]:
    return make_sdist


__all__ = ["Bench", "IndexOptions", "make_sdist", "make_wheel"]
