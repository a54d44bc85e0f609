"""Killed at random moments while images are built and tasks run: the next run succeeds.

`COOPERY_CRASHES` says how many times to kill; `nox -s crashes` sets a hundred.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

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


def test_killed_at_random_and_run_again(contained: Project, engine: Any) -> None:
    contained.write("recipe.toml", RECIPE)
    chance = random.Random(20261121)
    mine = {"label": f"{HOME}={home_id(contained.home)}"}
    for number in range(KILLS):
        # Another image each time, so that it is built, and all is run.
        contained.write("src/text", f"{number}\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "coopery", "run", "-r", "docker", "-j", "2"],
            cwd=contained.root,
            env=contained.environment(
                {"HANDMADE_RUN": f"mkdir -p /work; chmod 777 /work; sleep 0.5; : {time.time()}"}
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(chance.uniform(0.1, 3.0))
        if chance.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        again = contained.coopery("run", "-r", "docker")
        assert again.exit_code == 0, again.stderr
        for n in (1, 2):
            assert contained.read(f"build/{n}") == f"{number}\n{n}\n"
        assert engine.containers(all=True, filters=mine) == []
        assert list((contained.home / "scratch").iterdir()) == []
        assert not list((contained.home / "docker").glob("*"))
