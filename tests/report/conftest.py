"""Recipes for pictures, and records of runs that nobody ran."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coopery.testing import Project

RECIPE = r"""
[task.prep]
command = 'echo prepping; echo 3 > "{outputs.table}"'
outputs.table = "build/table.txt"

[task.fit]
matrix.fold = [0, 1]
command = '''
printf '\033[31m<script>alert("fold {matrix.fold}")</script>\033[0m ]]> &amp; \001\n'
test {matrix.fold} = 0 || exit 3
cat "{inputs.table}" > "{outputs.model}"
'''
inputs.table = { from = "prep.table" }
outputs.model = { name = "model.txt" }

[task.score]
command = 'cat {inputs.models}/*/model.txt > "{outputs.report}"'
inputs.models = { from = "fit.model" }
outputs.report = "build/report.txt"
"""
"""Of its run, `prep` and `fit@fold=0` succeed, `fit@fold=1` fails, and `score` is skipped."""

SCRIPT = '<script>alert("fold 1")</script> ]]> &amp; \\x01'
"""How the log of `fit@fold=1` reads."""

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def failing(project: Project) -> Project:
    """A project whose run fails in part."""
    project.write("recipe.toml", RECIPE)
    return project


def make_step(name: str, *needs: str, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A step of a record; by itself it did not run."""
    plain: dict[str, Any] = {
        "step": name,
        "kind": "task",
        "state": state,
        "cached": False,
        "key": "ab" * 32,
        "made_by": "",
        "reason": None,
        "needs": list(needs),
        "outputs": {},
        "started": None,
        "ended": None,
        "log": None,
        "notes": [],
        "problems": [],
        "facts": {},
    }
    return plain | more


def span(start: float, end: float) -> dict[str, str]:
    """The times of a step, in seconds since its run began."""
    times = {"started": start, "ended": end}
    return {key: (START + timedelta(seconds=s)).isoformat() for key, s in times.items()}


def make_record(steps: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The record of a run of 100 seconds."""
    plain: dict[str, Any] = {
        "schema": 2,
        "run": "20260102T030405000-abcd",
        "recipe": "/work/iris/recipe.toml",
        "runtime": "local",
        "targets": [],
        "state": "ended",
        "exit_code": 0,
        "source": None,
        "steps": list(steps),
    }
    return plain | span(0, 100) | more
