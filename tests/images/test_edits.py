"""An editable project is edited again and again without a new version: the latest always runs.

`COOPERY_EDITS` says how often; `nox -s crashes` sets a hundred.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, make_project

from .test_keys import BACKEND, PROJECT

EDITS = int(os.environ.get("COOPERY_EDITS", "3"))
RECIPE = """
[image.science]
projects = ["mine"]

[task.t]
image = "science"
command = ["python", "-c", "import mine; print(mine.VALUE, file=open('{outputs.out}', 'w'))"]
outputs.out = "out"
"""


@pytest.fixture
def edited(tmp_path: Path, sweep: Any) -> Project:
    project = make_project(tmp_path)
    sweep(project.home)
    project.write("recipe.toml", RECIPE)
    project.write("mine/pyproject.toml", PROJECT.replace('["alpha"]', "[]"))
    project.write("mine/backend/backend.py", BACKEND)
    return project


def test_the_latest_edit_runs_and_nothing_is_built_without_one(edited: Project) -> None:
    for number in range(EDITS):
        edited.write("mine/lib/mine/__init__.py", f"VALUE = {number}\n")
        assert "t" in {s["step"] for s in edited.run("-r", "docker").values() if not s["cached"]}
        assert edited.read("out") == f"{number}\n"
    for _ in range(EDITS):
        assert all(step["cached"] for step in edited.run("-r", "docker").values())
        forced = edited.run("-r", "docker", "--force").values()
        assert {s["step"] for s in forced if not s["cached"]} == {"t"}
    # What was before is still known, wheel and image alike.
    edited.write("mine/lib/mine/__init__.py", "VALUE = 0\n")
    assert all(step["cached"] for step in edited.run("-r", "docker").values())
    assert edited.read("out") == "0\n"
