"""The example of all kinds of code, as far as it needs nothing of Debian."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coopery.testing import Project, make_project

RECIPE = Path(__file__).parents[2] / "recipes" / "wheelhouse"


@pytest.fixture
def house(tmp_path: Path) -> Project:
    """The example without what Debian has: that comes over the network, and is no secret."""
    project = make_project(tmp_path)
    leave = shutil.ignore_patterns("build", "*.lock")
    shutil.copytree(RECIPE, project.root, dirs_exist_ok=True, ignore=leave)
    text = project.read("recipe.py")
    (line,) = [line for line in text.splitlines() if "libgomp1" in line]
    project.write("recipe.py", text.replace(line, ""))
    return project
