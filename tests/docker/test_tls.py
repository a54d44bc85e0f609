"""A real engine that is reached by TLS: by variables, by contexts, and by whom it does not know."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest

from coopery.testing import Project

RECIPE = """
[image.i]
base = "small:1"

[task.a]
image = "i"
command = "cat /mark > {outputs.o}; echo told"
outputs.o = "o"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[engines.Daemon]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        try:
            with engines.docker_with_tls(Path(name)) as found:
                yield found
        except engines.CannotRun as error:
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                raise
            pytest.skip(f"no daemon of one's own: {error}")


def call(
    project: Project, daemon: engines.Daemon, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Coopery in the daemon's network."""
    project.write("recipe.toml", RECIPE)
    return subprocess.run(
        [*daemon.entering, sys.executable, "-m", "coopery", *arguments],
        cwd=project.root,
        env={**project.environment(), "DOCKER_HOST": "", "DOCKER_CONTEXT": "", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_by_variables(project: Project, daemon: engines.Daemon) -> None:
    """The whole way: the base is looked into, the image built, the log followed."""
    here = {"DOCKER_HOST": daemon.address, "DOCKER_CERT_PATH": str(daemon.certificates)}
    # What the web's certificates are is another matter.
    here["REQUESTS_CA_BUNDLE"] = str(daemon.strangers / "ca.pem")
    done = call(project, daemon, "run", "-r", "docker", **here, DOCKER_TLS_VERIFY="1")
    assert done.returncode == 0, done.stderr
    assert project.read("o") == "tls\n"
    (log,) = project.home.glob("runs/*/logs/a.log")
    assert log.read_text() == "told\n"


def contexts(folder: Path, daemon: engines.Daemon) -> Path:
    """A folder as `docker context create` leaves it, with the context `attic`."""
    ident = hashlib.sha256(b"attic").hexdigest()
    meta, tls = (folder / "contexts" / kind / ident for kind in ("meta", "tls"))
    meta.mkdir(parents=True)
    endpoint = {"Host": daemon.address, "SkipTLSVerify": False}
    told = {"Name": "attic", "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (meta / "meta.json").write_text(json.dumps(told))
    (tls / "docker").mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        shutil.copy(daemon.certificates / name, tls / "docker")
    return folder


def test_by_a_context(project: Project, daemon: engines.Daemon, tmp_path: Path) -> None:
    """The one that is named, for which no config.json is needed, and the current one."""
    folder = contexts(tmp_path / "docker", daemon)
    here = {"DOCKER_CONFIG": str(folder), "PIP_NO_INDEX": "1"}
    done = call(project, daemon, "doctor", **here, DOCKER_CONTEXT="attic")
    assert f"(API {daemon.api}) at {daemon.address}" in done.stdout, done.stdout
    (folder / "config.json").write_text('{"currentContext": "attic"}')
    done = call(project, daemon, "doctor", **here)
    assert f"(API {daemon.api}) at {daemon.address}" in done.stdout, done.stdout


@pytest.mark.parametrize("who", ["nobody", "strangers", "unverified"])
def test_those_it_does_not_know(project: Project, daemon: engines.Daemon, who: str) -> None:
    here = {"DOCKER_HOST": daemon.address}
    if who != "nobody":
        here["DOCKER_CERT_PATH"] = str(daemon.strangers)
    if who == "strangers":
        here["DOCKER_TLS_VERIFY"] = "1"
    done = call(project, daemon, "run", "-r", "docker", **here)
    assert done.returncode == 3 and "[engine-tls]" in done.stderr, done.stderr
    assert daemon.address in done.stderr and "DOCKER_CERT_PATH" in done.stderr
    assert "Traceback" not in done.stderr
