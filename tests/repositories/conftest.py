"""Repositories with small packages behind real servers, and projects that import them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from coopery.testing import Project, make_project
from coopery.testing.repositories import (
    GitRepository,
    HttpServer,
    SshServer,
    make_certificate,
    make_repository,
    package_files,
    serve_http,
    serve_ssh,
    sshd_program,
)

SECRETS = """
import os
from coopery.hooks import hookimpl

@hookimpl
def provide_secret(secret):
    file = os.environ.get("TEST_SECRETS")
    path = f"{file}/{secret.name}"
    if file and os.path.exists(path):
        return open(path).read()
    return os.environ.get(secret.name)
"""
"""A plugin that keeps secrets in files of a folder, where no variable tells them, or else in
variables."""


class Shop:
    """Repositories in one folder, and a project whose recipe names them."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "repositories"
        self.folder.mkdir()
        self.project: Project = make_project(tmp_path)
        self.uv_cache = tmp_path / "uv-cache"
        self.secrets = tmp_path / "secrets"
        self.secrets.mkdir()
        self.project.plugin("vault", SECRETS)

    def repository(self, name: str, version: str = "1.0", *, package: str = "") -> GitRepository:
        """A repository with a package at its top, by default of the same name."""
        found = make_repository(self.folder, name)
        found.commit(package_files(package or name, version))
        return found

    def file_url(self, name: str) -> str:
        return (self.folder / f"{name}.git").as_uri()

    def recipe(self, *git: str, python: str = "", more: str = "", image: str = "") -> None:
        """A recipe with one image, whose `git` these are, and a task that tells what is there."""
        self.project.write(
            "recipe.toml",
            f"[image.science]\n{python}git = [{', '.join(git)}]\n{image}\n" + REPORT + more,
        )

    def says(self, *arguments: str) -> dict[str, str]:
        """What the modules say that the recipe's task imports."""
        answer = self.project.coopery("run", *arguments)
        assert answer.exit_code == 0, answer.stderr
        lines = self.project.read("build/report.txt").splitlines()
        return dict(line.split(": ", 1) for line in lines)

    @property
    def lock(self) -> str:
        return self.project.read("recipe.lock")


REPORT = '''
[task.report]
image = "science"
outputs.report = "build/report.txt"
command = ["python", "-c", """
import pkgutil, sys
found = []
for item in pkgutil.iter_modules():
    if item.name.startswith(("pack", "dep", "extra")):
        found.append(f"{{item.name}}: {{__import__(item.name).SAYS}}")
open(sys.argv[1], "w").write("\\\\n".join(found) + "\\\\n")
""", "{outputs.report}"]
'''


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine's, no index, no agent."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_", "GIT_", "SSH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("TEST_SECRETS", str(tmp_path / "secrets"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def http(shop: Shop) -> Iterator[HttpServer]:
    with serve_http(shop.folder) as server:
        yield server


@pytest.fixture
def https(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """As `http`, over TLS with a certificate that git trusts."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("GIT_SSL_CAINFO", f"{certificate}.crt")
    with serve_http(shop.folder, certificate=certificate) as server:
        yield server


@pytest.fixture
def ssh(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """An sshd that the user's ssh knows and gets into; without sshd, tests are skipped."""
    if sshd_program() is None:
        if os.environ.get("CI") == "true":
            raise AssertionError("there is no sshd")
        pytest.skip("there is no sshd: apt-get install openssh-server")
    with serve_ssh(shop.folder, tmp_path / "sshd") as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server
