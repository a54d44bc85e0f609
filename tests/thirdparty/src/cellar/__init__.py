"""A third party's plugin: the command `greet`, the image key `motd`, the runtime `bare`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from coopery import placeholders
from coopery.commands import Command, Context
from coopery.dependencies import ImagePlan, Layer, Lock, Stage
from coopery.errors import Problem, StepError, problem
from coopery.hooks import hookimpl
from coopery.marks import shorthand
from coopery.model import Image, Recipe
from coopery.recipes import Facet
from coopery.steps import Made, Step, Workspace
from coopery.tasks import TaskWork


@dataclass(frozen=True, kw_only=True)
class Motd:
    """The message of the day of an image."""

    text: Annotated[str, shorthand]


@hookimpl
def add_commands() -> Sequence[Command]:
    """`greet`."""

    def greet(context: Context) -> int:
        context.answer({"greeting": "hello from the cellar"}, "hello from the cellar")
        return 0

    return [Command(name="greet", help="say hello", run=greet, recipe=False, json=True)]


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`motd` of an image."""
    return [Facet(noun="image", key="motd", type=Motd)]


@hookimpl
def add_layers(recipe: Recipe, image: Image, lock: Lock) -> Iterable[Layer]:
    """The message as a variable of the image."""
    motd = image.facet(Motd)
    if motd is not None:
        yield Layer(name="motd", stage=Stage.SETTINGS, env={"MOTD": motd.text})


@hookimpl
def runtime_names() -> Sequence[str]:
    """`bare`: processes in nothing but their scratch folder."""
    return ["bare"]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """No secrets are handed over here."""
    for task in recipe.tasks.values() if runtime == "bare" else ():
        if task.secrets:
            message, hint = "the runtime bare hands no secrets to tasks", "use -r local"
            yield problem("no-secrets", message, key=("task", task.name, "secrets"), hint=hint)


@hookimpl
def plan_image(
    recipe: Recipe, image: Image, layers: Sequence[Layer], runtime: str
) -> ImagePlan | None:
    """Images have only variables here."""
    if runtime != "bare":
        return None
    env: dict[str, str] = {}
    for layer in layers:
        env.update(layer.env)
    return ImagePlan(steps=(), need=None, env=env)


@hookimpl
def perform(step: Step, workspace: Workspace) -> Made | None:
    """Run a task's command in the scratch folder."""
    work = step.work
    if not isinstance(work, TaskWork) or work.runtime != "bare":
        return None
    outputs = {channel.name: workspace.folder / channel.base for channel in work.outputs}
    inputs = {c.name: workspace.inputs[f"input {c.name}"] for c in work.inputs}
    values = {"inputs": _texts(inputs), "outputs": _texts(outputs)}
    command = [placeholders.render(placeholders.parse(item), values) for item in work.command]
    for channel in work.outputs:
        if channel.folder:
            outputs[channel.name].mkdir()
    passed = {name: value for name, value in work.pass_env.items() if value is not None}
    try:
        with workspace.log.open("ab") as log:
            done = subprocess.run(
                command,
                cwd=workspace.folder,
                env={"PATH": os.defpath, **work.env, **passed},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
    except FileNotFoundError as error:
        raise StepError(problem("command-not-found", f"there is no {command[0]}")) from error
    facts: dict[str, object] = {"exit_code": done.returncode}
    if done.returncode:
        raise StepError(problem("task-failed", f"exit code {done.returncode}"), facts=facts)
    return Made(outputs=outputs, facts=facts)


def _texts(paths: dict[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}
