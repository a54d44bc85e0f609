"""For plugin authors' tests: a project to write recipes in, and the installed command to run them.

from coopery.testing import make_project

def test_greets(tmp_path):
    project = make_project(tmp_path)
    project.write("recipe.toml", '[task.a]\\ncommand = "echo hi"\\n')
    assert project.coopery("run").exit_code == 0
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call of the command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Stdout, read as JSON."""
        return json.loads(self.stdout)

    @property
    def slugs(self) -> tuple[str, ...]:
        """The slugs of the errors told, in order."""
        import re

        return tuple(re.findall(r"^error: .*\[([a-z-]+)\]$", self.stderr, re.MULTILINE))


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a recipe, and a home folder beside it."""

    root: Path
    home: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project, its text dedented; folders are made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")
        return path

    def read(self, name: str) -> str:
        """The text of a file of the project."""
        return (self.root / name).read_text("utf-8")

    def coopery(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Answer:
        """Call the installed command in the project, as a user would."""
        done = subprocess.run(
            [sys.executable, "-m", "coopery", *arguments],
            cwd=cwd or self.root,
            env={**os.environ, "COOPERY_HOME": str(self.home), **(env or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def run(self, *arguments: str, **options: Any) -> dict[str, dict[str, Any]]:
        """`coopery run --json`: the record's steps, by name. The run must end with exit code 0."""
        answer = self.coopery("run", "--json", *arguments, **options)
        assert answer.exit_code == 0, answer.stderr
        return {step["step"]: step for step in answer.json["steps"]}

    def forecast(self, *arguments: str) -> dict[str, str]:
        """`coopery run --dry-run --json`: each step's verdict."""
        answer = self.coopery("run", "--dry-run", "--json", *arguments)
        assert answer.exit_code == 0, answer.stderr
        return {step["step"]: step["forecast"] for step in answer.json["steps"]}


def performed(steps: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """The steps of a run that were performed, in plan order."""
    return [name for name, step in steps.items() if not step["cached"]]


def make_project(folder: Path) -> Project:
    """A project and a home folder in an empty folder."""
    root = folder / "project"
    root.mkdir()
    return Project(root=root, home=folder / "home")
