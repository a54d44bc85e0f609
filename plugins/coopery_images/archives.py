"""Archives: an image's Dockerfile with its whole context, or a task's, as one .tar.gz (C3)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from coopery import placeholders, planning
from coopery.contexts import Entry, entries_of, write_tar
from coopery.dependencies import Aux, Invocation
from coopery.errors import RecipeError, problem
from coopery.expanding import Node
from coopery.images import PROGRAMS, Blueprint, Instruction, path_from, wheel_labels
from coopery.portable import portable
from coopery.processes import stopped
from coopery.staging import upper
from coopery.steps import Delivery, Made, Need, Step, Workspace
from coopery_images import quoting
from coopery_images.describing import INPUTS, OUTPUTS, SECRETS, describe_image, describe_task
from coopery_images.dockerfile import dockerfile_of
from coopery_images.work import Archive

_AUX = "/coopery/aux"
_HOME = "/coopery/home"
_TEMPORARY = "/coopery/tmp"


@dataclass(frozen=True, kw_only=True)
class TaskPart:
    """What a task adds to its image: instructions, small files and folders, by absolute path."""

    instructions: tuple[Instruction, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


def as_invoked(node: Node, invocation: Invocation) -> Node:
    """A task instance with what something else says of it besides what it runs: where its channels
    are, and what it may use. Of memory that goes by the data nothing can be said here.
    """
    mounts = invocation.mounts
    task = node.instance.task
    limits = planning.above(task.resources, invocation.limits)
    if invocation.scaling is not None:
        limits = replace(limits, memory=task.resources.memory)
    return replace(
        node,
        instance=replace(node.instance, task=replace(task, resources=limits)),
        inputs={
            name: replace(bound, mount=mounts.get(name, bound.mount))
            for name, bound in node.inputs.items()
        },
        outputs={
            name: replace(bound, mount=mounts[name], folder=True) if name in mounts else bound
            for name, bound in node.outputs.items()
        },
    )


def task_part(node: Node, invocation: Invocation, root: Path) -> TaskPart:
    """A task as the end of its image: its command, files and variables as when coopery runs it.

    Raises RecipeError (`not-quotable`).
    """
    task = node.instance.task
    inputs = {n: b.mount or f"{INPUTS}/{n}/{b.base}" for n, b in node.inputs.items()}
    outputs = {n: b.mount or f"{OUTPUTS}/{n}/{b.base}" for n, b in node.outputs.items()}
    aux = {item.name: f"{_AUX}/{item.name}" for item in invocation.aux}
    files = {n: f"{SECRETS}/{n}" for n, given in task.secrets.items() if given.how == "file"}
    values = {"inputs": inputs, "outputs": outputs, "aux": aux, "secrets": files}
    command = [placeholders.render(placeholders.parse(i), values) for i in invocation.command]
    variables = {
        "HOME": _HOME,
        "TMPDIR": _TEMPORARY,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONNOUSERSITE": "1",
    }
    variables |= {f"COOPERY_INPUT_{upper(name)}": path for name, path in inputs.items()}
    variables |= {f"COOPERY_OUTPUT_{upper(name)}": path for name, path in outputs.items()}
    variables |= {f"COOPERY_SECRET_{name.upper()}": path for name, path in files.items()}
    variables |= invocation.env
    variables |= {
        name: placeholders.render(placeholders.parse(text), node.values)
        for name, text in task.env.items()
    }
    if "PATH" in variables:
        variables["PATH"] = path_from(PROGRAMS, variables["PATH"])
    try:
        said = [quoting.env({name: value}) for name, value in sorted(variables.items())]
        said.append(quoting.entry_point(command))
    except quoting.Unquotable as error:
        message = f"the task {node.name} cannot be packed: {error}"
        hint = "write its command and variables in one line each"
        raise RecipeError(
            problem("not-quotable", message, key=("task", task.name), hint=hint)
        ) from None
    folders = {_HOME, _TEMPORARY}
    for name, bound in node.outputs.items():
        folders.add(outputs[name] if bound.folder else outputs[name].rpartition("/")[0])
    return TaskPart(
        instructions=(quoting.copy("task/", "/"), *said),
        texts={f"{_AUX}/{item.name}": _content(item, root) for item in invocation.aux},
        folders=tuple(sorted(folders - {""})),
    )


def _content(item: Aux, root: Path) -> bytes:
    pickled = item.name.endswith(".pkl")
    return portable(item.content, root) if pickled else item.content


def texts_of(blueprint: Blueprint, node: Node | None, part: TaskPart) -> dict[str, bytes]:
    """The small files of an archive, by their path in it."""
    described = describe_task(node, blueprint) if node else describe_image(blueprint)
    found = {
        "DESCRIPTION.md": described.encode(),
        "Dockerfile": dockerfile_of(blueprint, part.instructions).encode(),
        "requirements.txt": "".join(f"{line}\n" for line in blueprint.packages).encode(),
    }
    return found | {f"task{path}": content for path, content in part.texts.items()}


def archive_step(name: str, blueprint: Blueprint, node: Node | None, part: TaskPart,
                 destination: Path) -> Step:  # fmt: skip
    """The step that writes an archive, once what goes into it is made."""
    copies = [item for each in blueprint.parts for item in each.copies]
    work = Archive(
        texts=texts_of(blueprint, node, part),
        folders=tuple(f"task{path}" for path in part.folders),
        writable=tuple(item.path for item in copies if item.writable),
    )
    return Step(
        name=f"archive {name}",
        subject=name,
        work=work,
        needs=tuple(Need(role=f"copy {i.path}", source=i.need.source) for i in copies),
        outputs=("archive",),
        deliveries=(Delivery(output="archive", destination=destination),),
    )


def make_archive(work: Archive, workspace: Workspace) -> Made:
    """Write the archive: the same content is always the same bytes. Raises StepError."""
    path = workspace.folder / "archive.tar.gz"
    with path.open("wb") as file:
        # Level and time are said, and no name, so that nothing of the machine enters its header.
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            write_tar(_entries(work, workspace), cast("IO[bytes]", packed))
    return Made(outputs={"archive": path}, facts={"size": path.stat().st_size})


def _entries(work: Archive, workspace: Workspace) -> Iterator[Entry]:
    yield from fixed_entries(replace(work, texts=completed(work.texts, workspace.inputs)))
    for role, source in sorted(workspace.inputs.items()):
        path = role.removeprefix("copy ")
        for entry in entries_of(source, path, writable=path in work.writable):
            if workspace.cancelled.is_set():
                raise stopped()
            yield entry


def completed(texts: Mapping[str, bytes], inputs: Mapping[str, Path]) -> dict[str, bytes]:
    """The small files of an archive, with the label in the Dockerfile that the needs tell."""
    labels = wheel_labels(inputs)
    if not labels:
        return dict(texts)
    told = quoting.label(labels).line(buildkit=False).encode() + b"\n"
    return {**texts, "Dockerfile": texts["Dockerfile"] + told}


def fixed_entries(work: Archive) -> Iterator[Entry]:
    """The small files and the empty folders of an archive."""
    for path, content in sorted(work.texts.items()):
        yield Entry(path=path, mode=0o644, content=content, size=len(content))
    for path in work.folders:
        yield Entry(path=path, mode=0o777)
