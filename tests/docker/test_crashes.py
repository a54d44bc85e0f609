"""Killed at random moments while images are built and tasks run: the next run succeeds.

`COOPERY_CRASHES` says how many times to kill; `nox -s crashes` sets a hundred.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

from coopery.testing import Project
from coopery_docker.notes import HOME, home_id

KILLS = int(os.environ.get("COOPERY_CRASHES", "3"))
RECIPE = """
[image.i]
sources = ["src"]

[task.first]
image = "i"
command = "cat src/text > {outputs.o}; sleep 0.2"
outputs.o = "build/first"

[task.each]
image = "i"
matrix.n = [1, 2]
command = "cat {inputs.i} > {outputs.o}; echo {matrix.n} >> {outputs.o}; sleep 0.2"
inputs.i = "build/first"
outputs.o = "build/{matrix.n}"
"""


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_random_and_run_again(contained: Project, engine: Any, number: int) -> None:
    contained.write("recipe.toml", RECIPE)
    contained.write("src/text", f"{number}\n")
    chance = random.Random(number)
    mine = {"label": f"{HOME}={home_id(contained.home)}"}
    # In no builder's cache, so that it is built, and all is run.
    build = f"mkdir -p /work; chmod 777 /work; sleep 0.5; : {time.time()}"
    process = contained.start("run", "-r", "docker", "-j", "2", env={"HANDMADE_RUN": build})
    time.sleep(chance.uniform(0.1, 4.0))
    if chance.random() < 0.5:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = contained.coopery("run", "-r", "docker")
    assert again.exit_code == 0, again.stderr
    for n in (1, 2):
        assert contained.read(f"build/{n}") == f"{number}\n{n}\n"
    assert engine.containers(all=True, filters=mine) == []
    assert list((contained.home / "scratch").iterdir()) == []
    assert not list((contained.home / "docker").glob("*"))
