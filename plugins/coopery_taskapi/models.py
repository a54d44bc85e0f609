"""The two documents of the Task API: `processing-container.json` and `task.json`.

What an image can do is told by the first, at the image's root; the second says which of it to do,
with which data. Field names are those of the format, which is why some are in camel case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from coopery.marks import AtLeast, Text, named
from coopery.quantities import Quantity
from coopery.shapes import Name
from coopery_taskapi.paths import Glob, HostPath, MountedPath, Regex, Within

Version = Literal[1]
"""The one version of both formats."""
Type = Literal["string", "str", "int", "integer", "float", "number", "bool", "boolean", "path"]
"""What a variable's text stands for. Shipped files write `int`, `string` and `boolean`."""
CARDS = ("gpu", "nvidia.com/gpu")
"""The names of the resource of which there are only whole ones."""
Mode = Literal["sum", "max_file_size", "max_item_sum"]


def check_variable(text: str) -> str:
    """The name of an environment variable, as Kubernetes allows it. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,199}", text):
        raise ValueError("expected letters, digits, `_`, `-` and `.`, not starting with a digit")
    return text


def check_line(text: str) -> str:
    """Text that is not empty, of one line. Raises ValueError."""
    if not text.strip():
        raise ValueError("it is empty")
    if not text.isprintable():
        raise ValueError("it holds a line break or another control character")
    return text


Line = Annotated[
    str,
    Text(
        check_line,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        what="a name",
        mend="write one line of text",
    ),
]
Variable = Annotated[
    str,
    Text(
        check_variable,
        pattern=r"^[A-Za-z_.-][A-Za-z0-9_.-]{0,199}$",
        what="the name of a variable",
        mend="write a name such as TIME_SLEEP",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ScaleRule:
    """How much memory a channel's data asks for: `scale_factor` bytes for each of its bytes.

    Counted are files beneath `target_dir` whose path from there, or its end, is matched by
    `target_glob`, and which as a whole is matched by `target_regex`: all of them (`sum`), the
    largest (`max_file_size`), or those of the folder within the channel that has the most
    (`max_item_sum`; then `target_dir` is within each of these folders). The requirement is a
    `limit` or a `request` of memory; it counts where it is above what is stated.
    """

    scale_factor: Annotated[float, AtLeast(0, above=True)]
    type: Literal["limit", "request"]
    mode: Mode
    target_dir: Within | None = None
    target_glob: Glob | None = None
    target_regex: Regex | None = None


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A channel of a template: where the container finds, or leaves, the data called `name`."""

    name: Name
    mounted_path: MountedPath
    description: str | None = None
    scale_rule: ScaleRule | None = None


@dataclass(frozen=True, kw_only=True)
class TemplateVariable:
    """A variable by which the container is configured; `value` is its default.

    `choices` are all the values it may have, where there are any. One that is not `adjustable`
    has its default in every task.
    """

    name: Variable
    value: str
    description: str | None = None
    type: Type | None = None
    choices: tuple[str, ...] | None = None
    adjustable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Of what there is at least (`requests`) and at most (`limits`): Kubernetes quantities by the
    name of the resource: `cpu`, `memory`, `gpu`, `nvidia.com/gpu`, `shm`.
    """

    requests: Mapping[str, Annotated[float, Quantity]] | None = None
    limits: Mapping[str, Annotated[float, Quantity]] | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """One use of an image: the data it takes and makes, its variables, and what it runs.

    Without a `command` the image's own is run.
    """

    identifier: Line
    description: str
    env: tuple[TemplateVariable, ...] | None = ()
    inputs: tuple[Mount, ...] | None = ()
    outputs: tuple[Mount, ...] | None = ()
    command: tuple[str, ...] | None = None
    resources: Amounts | None = None


@dataclass(frozen=True, kw_only=True)
class ProcessingContainer:
    """What an image can do: `processing-container.json`, which lies at the image's root."""

    schema: Annotated[str | None, named("$schema")] = None
    name: Line
    description: str
    api_version: Version = 1
    templates: tuple[Template, ...]


@dataclass(frozen=True, kw_only=True)
class TaskVariable:
    """A variable as a task sets it."""

    name: Variable
    value: str


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Where a channel's data is: a folder of this machine."""

    host_path: HostPath


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A channel of a task: whose data it is. Its `scale_rule` takes the place of the template's."""

    name: Name
    volume_source: Volume
    scale_rule: ScaleRule | None = None


Table = Mapping[str, Any]
Strings = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Config:
    """How a task is run by Docker (`docker`) or Kubernetes (`k8s`).

    Who one is at the image's registry is told by `registryUrl`, `registryUsername` and
    `registryPassword`. `namespace`, `imagePullSecrets`, `env_vars`, `volumes` and `volume_mounts`
    mean something to Kubernetes alone.
    """

    type: Literal["docker", "k8s"] | None = None
    labels: Strings | None = None
    annotations: Strings | None = None
    namespace: str | None = None
    registryUrl: str | None = None
    registryUsername: str | None = None
    registryPassword: str | None = field(default=None, repr=False)
    imagePullSecrets: tuple[str, ...] | None = None
    env_vars: tuple[Table, ...] | None = None
    volumes: tuple[Table, ...] | None = None
    volume_mounts: tuple[Table, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One use of a template, with its data: `task.json`.

    `taskTemplate` is the identifier of one in the image's specification, or a template itself.
    """

    schema: Annotated[str | None, named("$schema")] = None
    name: Line
    image: Line
    taskTemplate: str | Template
    api_version: Version = 1
    env: tuple[TaskVariable, ...] | None = ()
    inputs: tuple[Binding, ...] | None = ()
    outputs: tuple[Binding, ...] | None = ()
    command: tuple[str, ...] | None = None
    resources: Amounts | None = None
    config: Config | None = None
