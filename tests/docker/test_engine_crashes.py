"""Engines that are killed at random moments while images are built and tasks run.

As a daemon alone, whose containers go on, and as the whole machine. `COOPERY_CRASHES` says how many
times; `nox -s crashes` sets a hundred, of which here a fifth.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from typing import Any

import pytest

from coopery.testing import Project
from coopery_docker.notes import HOME, home_id, runs_noted

pytestmark = pytest.mark.xdist_group("own-engine")

KILLS = int(os.environ.get("COOPERY_CRASHES", "10")) // 5
SECONDS = 60
"""In which coopery must say that the engine was lost."""
RECIPE = """
[image.i]
sources = ["src"]

[task.first]
image = "i"
command = "cat src/text > {outputs.o}; sleep 0.2"
outputs.o = "build/first"

[task.each]
image = "i"
matrix.n = [1, 2, 3]
command = "echo begun; cat {inputs.i} > {outputs.o}; echo {matrix.n} >> {outputs.o}; sleep 0.3"
inputs.i = "build/first"
outputs.o = "build/{matrix.n}"
"""
WAYS = ["crash", "fail"]


def lose(own_engine: Any, process: subprocess.Popen[str], way: str) -> None:
    """Kill the engine; what coopery said of it, which must have been understood."""
    getattr(own_engine, way)()
    _, told = process.communicate(timeout=SECONDS)
    assert "Traceback" not in told
    assert process.returncode in (0, 3), told
    if process.returncode:
        slugs = set(re.findall(r"\[([a-z]+-[a-z-]+)\]$", told, re.MULTILINE))
        assert len(slugs) == 1 and slugs <= {"engine-lost", "no-engine"}, told
        assert " start it " in told  # what to do
        assert not re.search(r"^failed .*^start ", told, re.MULTILINE | re.DOTALL), told


def go_on(project: Project, own_engine: Any, text: str) -> None:
    """With the engine back, the same command does it all, and nothing is left of what was lost."""
    own_engine.start()
    again = project.coopery("run", "-r", "docker")
    assert again.exit_code == 0, again.stderr
    for n in (1, 2, 3):
        assert project.read(f"build/{n}") == f"{text}\n{n}\n"
    assert sorted(p.name for p in (project.root / "build").iterdir()) == ["1", "2", "3", "first"]
    assert own_engine.client.containers(all=True) == []
    assert {n["Name"] for n in own_engine.client.networks()} == {"bridge", "host", "none"}
    mine = {"label": f"{HOME}={home_id(project.home)}"}
    assert all(image["RepoTags"] for image in own_engine.client.images(filters=mine))
    assert list((project.home / "scratch").iterdir()) == []
    assert runs_noted(project.home) == []


def wait_for(project: Project, process: subprocess.Popen[str], word: str) -> None:
    """Until a log holds this word, or the run has ended."""
    deadline = time.monotonic() + SECONDS
    while not any(word in path.read_text() for path in project.home.glob("runs/*/logs/*.log")):
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_random_and_run_again(alone: Project, own_engine: Any, number: int) -> None:
    chance = random.Random(number)
    text = f"{number} {time.time()}"
    alone.write("src/text", text + "\n")
    alone.write("recipe.toml", RECIPE)
    env = {"HANDMADE_RUN": f"mkdir -p /work; chmod 777 /work; sleep 0.3; : {text}"}
    process = alone.start("run", "-r", "docker", "-j", "2", env=env)
    # From when several tasks run, from the first part's build, or from the beginning.
    wait_for(alone, process, ("begun", "sleep 0.3", "")[number % 3])
    time.sleep(chance.uniform(0.0, 0.7))
    lose(own_engine, process, chance.choice(WAYS))
    go_on(alone, own_engine, text)


@pytest.mark.parametrize("way", ["crash", "fail", "kill"] if KILLS > 2 else ["crash"])
def test_what_the_classic_builder_left_goes_too(
    alone: Project, own_engine: Any, classic: None, way: str
) -> None:
    """Its containers bear no labels; `kill` is coopery's own end."""
    text = f"{way} {time.time()}"
    alone.write("src/text", text + "\n")
    alone.write("recipe.toml", RECIPE)
    env = {"HANDMADE_RUN": f"sleep 300; : {text}"}
    process = alone.start("run", "-r", "docker", env=env)
    deadline = time.monotonic() + SECONDS
    while not any("sleep 300" in c["Command"] for c in own_engine.client.containers()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    if way == "kill":
        process.kill()
        process.communicate()
    else:
        lose(own_engine, process, way)
        own_engine.start()
        listed = alone.coopery("doctor").stdout
        assert re.search(r"container [0-9a-f]{12} of a run that was killed is left", listed), listed
    go_on(alone, own_engine, text)
