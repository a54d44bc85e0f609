"""`lock`, `list` and `why` of images on bases, under a runtime whose engine is a JSON file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coopery.testing import Project
from coopery_lock.bases import engine_platform

SLIM = "python:3.11-slim"
BOOKWORM = "python:3.11-bookworm"

# The bases of this engine are in `engine.json`; an image is two parts, and building it takes none
# of them anywhere. Each question that is asked of the engine leaves a line.
PLUGIN = """
import json
import subprocess
from pathlib import Path

from coopery.dependencies import ImagePlan
from coopery.errors import MachineError, problem
from coopery.hooks import hookimpl
from coopery.images import Base, Blueprint, ImageBuild, Instruction, Part, plan_builds
from coopery.model import Image
from coopery.recipes import Facet
from coopery.steps import Made, Need, StepSource
from coopery.tasks import TaskWork


class From(str):
    pass


class Layered(tuple):
    pass


@hookimpl
def declare_facets():
    return [
        Facet(noun="image", key="begin", type=str, wrap=From),
        Facet(noun="image", key="parts", type=tuple[str, ...], wrap=Layered),
    ]


@hookimpl
def runtime_names():
    return ["cask"]


@hookimpl
def wants_bases(runtime):
    return True if runtime == "cask" else None


@hookimpl
def choose_base(image):
    return str(image.facet(From))


@hookimpl
def inspect_base(reference, runtime):
    with Path("asked.txt").open("a") as file:
        file.write(reference + "\\n")
    known = json.loads(Path("engine.json").read_text())
    if reference not in known:
        raise MachineError(problem("base-unavailable", f"there is no image {reference}"))
    return Base(reference=reference, **known[reference])


@hookimpl
def render_image(image, base):
    names = image.facet(Layered) or ("dependencies", "settings")
    made = [
        Part(name=n, instructions=(Instruction(keyword="LABEL", arguments=f"part={n}"),))
        for n in names
    ]
    return Blueprint(image=image.name, base=base, parts=tuple(made))


@hookimpl
def plan_image(image, runtime, render):
    if runtime != "cask":
        return None
    steps = plan_builds(render(), runtime)
    need = Need(role="image", source=StepSource(step=steps[-1].name, output="image"))
    return ImagePlan(steps=steps, need=need)


@hookimpl
def perform(step, workspace):
    if isinstance(step.work, ImageBuild):
        (workspace.folder / "image").write_text(step.name)
        return Made(outputs={"image": workspace.folder})
    if isinstance(step.work, TaskWork) and step.work.runtime == "cask":
        (workspace.folder / "out").write_text("made")
        return Made(outputs={"out": workspace.folder / "out"})
"""


class Cask:
    """A project of one image and one task under that runtime."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.plugin("cask", PLUGIN)
        self.recipe(SLIM)
        self.has(SLIM)

    def recipe(self, reference: str, parts: tuple[str, ...] = ()) -> None:
        more = f"parts = {json.dumps(parts)}\n" if parts else ""
        self.project.write(
            "recipe.toml",
            f'[image.tools]\nbegin = "{reference}"\n{more}'
            '[task.make]\nimage = "tools"\ncommand = ["true"]\noutputs.out = {}\n',
        )

    def has(self, *references: str, mark: str = "a", **changes: Any) -> None:
        """What the engine has from now on."""
        found = {
            "id": f"sha256:{mark * 64}",
            "digest": f"sha256:{mark.upper() * 64}",
            "platform": engine_platform(),
            "python": "3.11.2",
            "executable": "/usr/bin/python3",
            "libc": "glibc 2.36",
        }
        self.project.write("engine.json", json.dumps(dict.fromkeys(references, found | changes)))

    @property
    def asked(self) -> list[str]:
        path = self.project.root / "asked.txt"
        return path.read_text().split() if path.exists() else []

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        answer = self.project.coopery(*arguments, "-r", "cask")
        assert answer.exit_code == code, answer.stderr
        return answer


@pytest.fixture
def cask(project: Project) -> Cask:
    return Cask(project)


def test_the_command_locks_and_tells_bases(cask: Cask) -> None:
    answer = cask("lock")
    assert answer.stdout == f"tools  0 packages  {SLIM}  sha256:AAAAAAAAAAAA\n"
    assert f"locked   base image {SLIM}: linux/" in answer.stderr
    document = cask("lock", "--json").json
    assert document["bases"]["tools"]["reference"] == SLIM
    assert document["bases"]["tools"]["digest"] == f"sha256:{'A' * 64}"
    assert document["bases"]["tools"]["python"] == "3.11.2"
    assert cask("lock", "--check").stderr == ""
    assert cask.asked == [SLIM]
    # Without a runtime that makes images there is nothing to tell of bases, nor to forget.
    plain = cask.project.coopery("lock", "--json").json
    assert (plain["bases"], plain["images"]) == ({}, {"tools": []})
    cask("lock", "--check")
    assert cask.asked == [SLIM]


def test_check_and_locked_want_the_base_in_the_lock(cask: Cask) -> None:
    for command in (["lock", "--check"], ["run", "--locked"]):
        answer = cask(*command, code=2)
        told = answer.told("lock-outdated")
        assert "recipe.lock does not hold for tools" in told
        assert f"no entry of the base image {SLIM}" in told
        assert "recipe.toml:1 (image.tools)" in told
    assert cask.asked == []
    assert not (cask.project.root / "recipe.lock").exists()


def test_a_base_that_cannot_be_had_is_an_error_of_the_machine(cask: Cask) -> None:
    cask.has()
    assert cask("lock", code=3).slugs == ("base-unavailable",)
    assert not (cask.project.root / "recipe.lock").exists()


def test_a_run_in_which_all_is_remembered_asks_the_engine_nothing(cask: Cask) -> None:
    cask("run")
    assert cask.asked == [SLIM]
    (cask.project.root / "engine.json").unlink()
    assert "3 cached" in cask("run").stderr
    assert cask("list").exit_code == 0
    assert cask.asked == [SLIM]


def test_a_base_that_was_upgraded_is_named_as_what_changed(cask: Cask) -> None:
    cask("run")
    cask.has(SLIM, mark="b")
    assert "cached" in cask("why", "make").stdout
    cask("lock", "--upgrade")
    told = "base image python:3.11-slim changed: sha256:AAAAAAAAAAAA -> sha256:BBBBBBBBBBBB"
    assert cask("why", "make").stdout.splitlines()[1].strip() == f"image tools: {told}"
    (reason,) = cask("why", "make", "--json").json["targets"][0]["reasons"]
    assert reason["part"] == f"base image {SLIM}"
    assert reason["step"] == "image tools dependencies"
    forecasts = cask("run", "--dry-run", "--json").json["steps"]
    reasons = {s["step"]: s["reason"] for s in forecasts}
    assert reasons["image tools dependencies"] == told
    record = cask("run", "--json").json
    (step,) = (s for s in record["steps"] if s["step"] == "image tools dependencies")
    assert step["reason"] == {"code": "changed", "text": told}


def test_another_reference_is_named_with_the_one_before(cask: Cask) -> None:
    cask("run")
    cask.recipe(BOOKWORM)
    cask.has(SLIM, BOOKWORM, mark="b")
    (line,) = (x for x in cask("why", "make").stdout.splitlines() if "base image" in x)
    assert f"base image {SLIM} -> {BOOKWORM} changed: sha256:AAAAAAAAAAAA -> " in line


def test_another_reference_to_the_same_base_changes_nothing(cask: Cask) -> None:
    cask("run")
    cask.recipe(BOOKWORM)
    cask.has(BOOKWORM)
    assert "cached" in cask("why", "make").stdout


SHORT, LONG = ("dependencies", "settings"), ("system", "dependencies", "settings")


@pytest.mark.parametrize(("before", "after", "told"), [(SHORT, LONG, "new"), (LONG, SHORT, "gone")])
def test_a_part_more_or_less_is_told_by_what_is_in_it(
    cask: Cask, before: tuple[str, ...], after: tuple[str, ...], told: str
) -> None:
    cask.recipe(SLIM, before)
    cask("run")
    cask.recipe(SLIM, after)
    text = cask("why", "make").stdout
    assert text == f"make: run\n  image tools: instruction LABEL part is {told}: part=system\n"


def test_a_base_of_this_machine_alone_is_warned_of_once(cask: Cask) -> None:
    cask.has(SLIM, digest=None)
    answer = cask("lock")
    assert f"warning: unpinned base {SLIM}" in answer.stderr
    assert answer.stdout.endswith(f"{SLIM}  sha256:aaaaaaaaaaaa\n")
    assert "warning" not in cask("run").stderr
    cask.has(SLIM, mark="b", digest=None)
    cask("lock", "--upgrade")
    told = f"base image {SLIM} changed: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb"
    assert told in cask("why", "make").stdout
