"""A step starts when all it needs has succeeded, once, and waits for nothing else (O4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest

from coopery.testing import Project

GRAPHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "chain": {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)},
    "diamond": {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")},
    "two diamonds": {
        "a": (),
        "b": ("a",),
        "c": ("a",),
        "d": ("b", "c"),
        "e": ("d",),
        "f": ("d",),
        "g": ("e", "f"),
    },
    "several roots": {"a": (), "b": (), "c": (), "d": ("a", "b"), "e": ("b", "c"), "f": ("d", "e")},
    "an isolated step": {"a": (), "b": ("a",), "alone": ()},
    "uneven branches": {
        "a": (),
        "long1": ("a",),
        "long2": ("long1",),
        "long3": ("long2",),
        "short": ("a",),
        "end": ("long3", "short"),
        "early": ("short",),
    },
    "a shortcut": {"a": (), "b": ("a",), "c": ("b",), "d": ("c", "a")},
    "a fan": {"a": (), **{f"b{n}": ("a",) for n in range(5)}, "z": ("b0", "b1", "b2", "b3", "b4")},
    "two parts": {"a": (), "b": ("a",), "x": (), "y": ("x",), "z": ("x",)},
}

SLEEP = 0.2
NEEDLESS = 0.7
"""Seconds between the end of what a step needs and its start that a loaded machine may take."""


def recipe(needs: Mapping[str, tuple[str, ...]]) -> str:
    """Each task sleeps, and every second one sleeps longer."""
    lines = []
    for index, (name, before) in enumerate(needs.items()):
        seconds = SLEEP * (1 + index % 2)
        lines += [
            f"[task.{name}]",
            f"command = 'echo {name} >> {{params.log}}; sleep {seconds}; touch {{outputs.o}}'",
            "params.log = 'LOG'",
            "outputs.o = {}",
            *(f"inputs.{need} = {{ from = '{need}.o' }}" for need in before),
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("graph", GRAPHS)
def test_order_is_right_and_nothing_waits_needlessly(project: Project, graph: str) -> None:
    needs = GRAPHS[graph]
    log = project.root / "log"
    project.write("recipe.toml", recipe(needs).replace("LOG", str(log)))
    steps = project.run("-j", "8")
    assert sorted(log.read_text().split()) == sorted(needs), "each step once"
    at = {
        (name, what): datetime.fromisoformat(step[what]).timestamp()
        for name, step in steps.items()
        for what in ("started", "ended")
    }
    begin = min(at.values())
    for name, before in needs.items():
        ready = max((at[need, "ended"] for need in before), default=begin)
        assert at[name, "started"] >= ready - 0.001, f"{name} started before it was ready"
        assert at[name, "started"] - ready < NEEDLESS, f"{name} waited for nothing"
