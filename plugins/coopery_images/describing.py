"""What an archive says of itself, in Markdown (C4)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from coopery.expanding import Node
from coopery.images import Blueprint
from coopery.model import Task

INPUTS = "/coopery/inputs"
OUTPUTS = "/coopery/outputs"
SECRETS = "/coopery/secrets"


def describe_image(blueprint: Blueprint) -> str:
    """The description of an image, and how to build it."""
    tag = blueprint.image.lower()
    return (
        f"# Image {blueprint.image}\n\n{blueprint.description.strip()}\n\n"
        f"Its base is `{blueprint.base.pinned}`.\n\n## Build\n\n    docker build -t {tag} .\n"
    )


def describe_task(node: Node, blueprint: Blueprint) -> str:
    """The description of a task, its channels, and how to build and run it."""
    task = node.instance.task
    inputs = [(n, b.mount or f"{INPUTS}/{n}/{b.base}") for n, b in sorted(node.inputs.items())]
    outputs = [(n, b.mount or f"{OUTPUTS}/{n}/{b.base}") for n, b in sorted(node.outputs.items())]
    tag = task.name.lower()
    run = ["docker run --rm"]
    run += [f"-v /path/of/{name}:{path}:ro" for name, path in inputs]
    run += [f"-v /folder/for/{name}:{_folder(path)}" for name, path in outputs]
    run += [f"-e {name}" for name in task.pass_env]
    files = [(n, f"{SECRETS}/{n}") for n, given in task.secrets.items() if given.how == "file"]
    run += [f"-v /path/of/{name}:{path}:ro" for name, path in files]
    run += [f"-e {name}" for name, given in task.secrets.items() if given.how == "variable"]
    return (
        f"# {node.name}\n\n{text_of(task, blueprint)}\n\n"
        + _listed("Inputs", inputs)
        + _listed("Outputs", outputs)
        + _listed("Secrets", files)
        + f"## Build and run\n\n    docker build -t {tag} .\n    {' '.join([*run, tag])}\n"
    )


def text_of(task: Task, blueprint: Blueprint) -> str:
    """What the recipe says of a task, else its function's docstring, else what can be told."""
    if task.description:
        return task.description.strip()
    for facet in task.facets:
        target = getattr(facet, "target", None)
        if callable(target) and (told := inspect.getdoc(target)):
            return told.strip()
    inputs = ", ".join(sorted(task.inputs)) or "nothing"
    outputs = ", ".join(sorted(task.outputs)) or "nothing"
    return f"Makes {outputs} of {inputs}, in the image `{blueprint.image}`."


def _listed(title: str, channels: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"- `{name}`: `{path}`\n" for name, path in channels)
    return f"## {title}\n\n{lines}\n" if lines else ""


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "/"
