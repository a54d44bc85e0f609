"""A project in a temporary folder, driven by the command line."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Answer, call

RECIPE = '''\
[task.prep]
description = "Copy the\\nraw data"
params.depth = 3
command = 'echo prepping; (cat "{inputs.raw}"; echo {params.depth}) > "{outputs.table}"'
inputs.raw = "raw.txt"
outputs.table = "build/table.txt"

[task.fit]
matrix.fold = [0, 1]
command = """
echo fold {matrix.fold}
(cat "{inputs.table}"; echo {matrix.fold}) > "{outputs.model}"
"""
inputs.table = { from = "prep.table" }
outputs.model = { name = "model.txt" }

[task.score]
command = 'cat {inputs.models}/*/model.txt > "{outputs.report}/all.txt"'
inputs.models = { from = "fit.model" }
outputs.report = "build/report/"
'''


@dataclass(frozen=True)
class Project:
    """A folder with a recipe, and a home folder beside it."""

    root: Path
    home: Path

    def __call__(self, *arguments: str, code: int = 0) -> Answer:
        """Run coopery; it must exit with `code`."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("COOPERY_")}
        ended = call(*arguments, cwd=self.root, env={**env, "COOPERY_HOME": str(self.home)})
        assert ended.exit_code == code, ended.stdout + ended.stderr
        return ended

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The document that a command answers with `--json`."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def edit(self, old: str, new: str, file: str = "recipe.toml") -> None:
        """Replace a text that stands once in a file."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three tasks of this machine, one with a matrix."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "recipe.toml").write_text(RECIPE)
    (root / "raw.txt").write_text("raw\n")
    return Project(root, tmp_path / "home")
