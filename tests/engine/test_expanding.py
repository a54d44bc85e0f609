"""Channels bound to what they read, and that binding many takes no more than it must."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coopery import expanding
from coopery.expanding import Nodes, expand
from coopery.model import Input, Output, Recipe, Task
from coopery.steps import FileSource, Source, StepSource


def recipe(root: Path, *tasks: Task) -> Recipe:
    return Recipe(
        file=root / "recipe.toml", root=root, images={}, tasks={task.name: task for task in tasks}
    )


def nodes(root: Path, *tasks: Task) -> Nodes:
    found, problems = expand(recipe(root, *tasks))
    assert problems == []
    return found


def sources(found: Nodes, name: str) -> Mapping[str, Source]:
    return {channel: bound.source for channel, bound in found[name].inputs.items()}


def pairs(values: tuple[Any, ...]) -> tuple[Task, Task]:
    """A task with this matrix, and one that reads each of its instances at the same point."""
    pick = Input(origin="fit.model", at={"x": "{matrix.x}"})
    return (
        Task(name="fit", matrix={"x": values}, outputs={"model": Output()}),
        Task(name="score", matrix={"x": values}, inputs={"model": pick}),
    )


def test_at_picks_the_instance_of_equal_coordinates(tmp_path: Path) -> None:
    found = nodes(tmp_path, *pairs((True, 0, 1.5, "a/b", "1e5")))
    assert len(found) == 10
    for name, node in found.items():
        if node.instance.task.name == "score":
            (source,) = sources(found, name).values()
            assert source == StepSource(step=name.replace("score", "fit"), output="model")


def test_at_takes_the_axes_in_any_order(tmp_path: Path) -> None:
    fit = Task(name="fit", matrix={"b": (1, 2), "a": (3, 4)}, outputs={"model": Output()})
    one = Task(name="one", inputs={"model": Input(origin="fit.model", at={"b": 2, "a": 3})})
    expected = {"model": StepSource(step="fit@a=3,b=2", output="model")}
    assert sources(nodes(tmp_path, fit, one), "one") == expected


def test_picking_instances_grows_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = expanding.text_of

    def counted(value: Any) -> str:
        calls.append(value)
        return real(value)

    monkeypatch.setattr(expanding, "text_of", counted)

    def cost(size: int) -> int:
        calls.clear()
        nodes(tmp_path, *pairs(tuple(range(size))))
        return len(calls)

    assert cost(80) == 2 * cost(40)


def test_a_path_inside_an_output_reads_from_its_task(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.txt").write_text("own\n", "utf-8")
    make = Task(name="make", outputs={"all": Output(path="build/all/")})
    read = Task(
        name="read",
        inputs={
            "whole": Input(path="build/all"),
            "deep": Input(path="build/all/a/../b/c.txt"),
            "own": Input(path="./data//own.txt"),
        },
    )
    assert sources(nodes(tmp_path, make, read), "read") == {
        "whole": StepSource(step="make", output="all"),
        "deep": StepSource(step="make", output="all", inside="b/c.txt"),
        "own": FileSource(path=tmp_path / "data" / "own.txt", shown="data/own.txt"),
    }


def test_a_very_deep_path_is_an_ordinary_missing_input(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 1500)
    _, problems = expand(recipe(tmp_path, Task(name="a", inputs={"x": Input(path=deep)})))
    assert [p.slug for p in problems] == ["missing-input"]


def test_a_destination_through_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "out").symlink_to(tmp_path)
    outputs = {name: Output(path=f"out/{name}.txt") for name in ("a", "b")}
    _, problems = expand(recipe(tmp_path / "project", Task(name="t", outputs=outputs)))
    assert [p.slug for p in problems] == ["outside-project", "outside-project"]
