"""The engine's disk is full while an image is built: that is told, and with space all goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project
from coopery_docker.notes import runs_noted

pytestmark = pytest.mark.xdist_group("own-engine")

LEFT = 8_000_000
"""Bytes that are left on the engine's disk."""
MUCH = 2 * LEFT
RECIPE = """
[image.i]
sources = ["src"]

[task.a]
image = "i"
command = "wc -c < src/data > {outputs.o}"
outputs.o = "o"
"""


@pytest.fixture(scope="module")
def small(own_engines: Callable[..., Any]) -> Any:
    """An engine with a small disk, in which the base just fits twice."""
    return own_engines(size="500m")


@pytest.fixture
def filled(small: Any, handmade: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That engine is the one that is found, and a file on its disk leaves hardly any space."""
    small.start()
    monkeypatch.setenv("DOCKER_HOST", small.address)
    filler = small.disk / "filler"
    with filler.open("wb") as file:
        block = b"x" * 1_000_000
        while shutil.disk_usage(small.disk).free > LEFT + len(block):
            file.write(block)
            file.flush()
    yield filler
    filler.unlink(missing_ok=True)


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
@pytest.mark.parametrize("what", ["run", "copy"])
def test_a_full_disk_while_an_image_is_built(
    request: pytest.FixtureRequest,
    handmade: Project,
    small: Any,
    filled: Path,
    what: str,
    builder: str,
) -> None:
    if builder == "classic":
        request.getfixturevalue("classic")
    handmade.write("recipe.toml", RECIPE)
    handmade.write("src/data", "x" * (MUCH if what == "copy" else 1))
    env = {}
    if what == "run":
        write = f"head -c {MUCH} /dev/urandom > /much"
        env["HANDMADE_RUN"] = f"mkdir -p /work; chmod 777 /work; {write} && : {time.time()}"
    answer = handmade.coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 3, answer.stderr
    told = answer.told("disk-full")
    assert "free some space where the engine keeps its images" in told
    assert "\x1b" not in answer.stderr
    assert small.client.containers(all=True) == []
    assert list((handmade.home / "scratch").iterdir()) == []
    filled.unlink()
    handmade.run("-r", "docker", env=env)
    assert runs_noted(handmade.home) == []
    assert handmade.read("o").strip() == str(MUCH if what == "copy" else 1)
