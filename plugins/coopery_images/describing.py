"""What an archive says of itself, in Markdown (C4)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from coopery.expanding import Node
from coopery.images import Blueprint
from coopery.model import Resources, Task

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
    files = _secret_files(task)
    return (
        f"# {node.name}\n\n{text_of(task, blueprint)}\n\n"
        + _listed("Inputs", inputs)
        + _listed("Outputs", outputs)
        + _listed("Secrets", files)
        + "## Build and run\n\n"
        + "".join(f"    {line}\n" for line in run_lines(node))
    )


def run_lines(node: Node) -> list[str]:
    """The shell's lines that build a packed task and run it as coopery would, on one's own files.

    The folders for what it writes are made first, else the engine makes them, as root's.
    """
    task = node.instance.task
    tag = task.name.lower()
    makes: dict[str, str] = {}
    binds = []
    for name, bound in sorted(node.inputs.items()):
        path = bound.mount or f"{INPUTS}/{name}/{bound.base}"
        binds.append(f"/path/of/{name}:{path}:ro")
    for name, output in sorted(node.outputs.items()):
        path = output.mount or f"{OUTPUTS}/{name}/{output.base}"
        inside = path if output.folder else path.rpartition("/")[0]
        makes.setdefault(inside, f"/folder/for/{name}")
    binds += [f"{folder}:{inside}" for inside, folder in makes.items()]
    binds += [f"/path/of/{name}:{path}:ro" for name, path in _secret_files(task)]
    flags = [flag for facet in task.facets for flag in getattr(facet, "run_flags", ())]
    lines = [f"docker build -t {tag} ."]
    if makes:
        folders = " ".join(makes.values())
        lines.append(f"mkdir -p {folders}")
        if "--user" in flags:
            lines.append(f"chmod 0777 {folders}")  # whoever that is, it must be able to write there
    run = ["docker", "run", "--rm", "--init"]
    run += [] if "--user" in flags else ["--user", "$(id -u):$(id -g)"]
    run += [*flags, *_limits(task.resources)]
    run += [word for bind in binds for word in ("-v", bind)]
    given = [name for name, secret in task.secrets.items() if secret.how == "variable"]
    run += [word for name in (*task.pass_env, *given) for word in ("-e", name)]
    return [*lines, " ".join([*run, tag])]


def _secret_files(task: Task) -> list[tuple[str, str]]:
    """The secrets that a task finds as files, and where."""
    return [(n, f"{SECRETS}/{n}") for n, given in task.secrets.items() if given.how == "file"]


def _limits(asked: Resources) -> list[str]:
    """What of a task's resources an engine gives or enforces."""
    found = ["--cpus", f"{max(asked.cpu, 0.01):.12g}"] if asked.cpu is not None else []
    if asked.memory is not None:
        found += ["--memory", str(int(asked.memory)), "--memory-swap", str(int(asked.memory))]
    if asked.shm is not None:
        found += ["--shm-size", str(max(int(asked.shm), 1))]
    return [*found, *(["--gpus", str(asked.gpu)] if asked.gpu else [])]


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
