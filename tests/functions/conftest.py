"""An interpreter without any package, and a way to run what was planned in it."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from coopery.dependencies import Invocation


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter without any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(bare: Path, tmp_path: Path) -> Run:
    def call(invocation: Invocation, **channels: Path) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "aux"
        folder.mkdir(exist_ok=True)
        paths = {}
        for aux in invocation.aux:
            (folder / aux.name).write_bytes(aux.content)
            paths[f"{{aux.{aux.name}}}"] = str(folder / aux.name)
        argv = [paths[item] for item in invocation.command[1:]]
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        env = {"PATH": os.environ["PATH"], **{k: str(v) for k, v in channels.items()}}
        command = [str(bare), "-I", *argv]
        return subprocess.run(command, env=env, cwd=scratch, capture_output=True, text=True)

    return call
