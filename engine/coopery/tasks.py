"""The work of a task step: what runtimes perform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from coopery.dependencies import Aux
from coopery.marks import unkeyed
from coopery.model import Resources, Scalar, TaskSecret


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A channel as the task sees it: `base` name, a `folder` made beforehand, a fixed `mount`.

    Of an output at a fixed place, the folder around it is mounted, so that the task can make it;
    one that is `whole` is mounted itself, and hides nothing beside it.
    """

    name: str
    base: str
    folder: bool = False
    mount: str | None = None
    whole: Annotated[bool, unkeyed] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Channels that are files or folders of this machine, used where they are: by name, their
    absolute paths. No need stands for such an input, and no output of the step for such an output.
    """

    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Begins:
    """Where a task begins that is not of this recipe's making: in its image's `workdir`."""

    workdir: str


@dataclass(frozen=True, kw_only=True)
class TaskWork:
    """One task instance's work (semantics 2 says which of it enters the key).

    `command` holds placeholders for `inputs.NAME`, `outputs.NAME` and `aux.NAME` only. Needs have
    the roles `input NAME`, `image` and `source PATH`.
    """

    kind: ClassVar[str] = "task"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    command: tuple[str, ...]
    aux_digests: tuple[tuple[str, str], ...] = ()
    params: Mapping[str, Any]
    coords: tuple[tuple[str, Scalar], ...]
    env: Mapping[str, str]
    pass_env: Mapping[str, str | None]
    secrets: Mapping[str, TaskSecret] = field(default_factory=dict)
    """What the task is given confidentially, by the name it knows it by."""
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    host: str | None
    """For a task bound to the host: its platform and Python."""
    facets: tuple[object, ...] = ()
    """What plugins' own keys of the task say, besides what it runs, and `Bound` and `Begins` where
    they say something: for the runtime to heed."""

    runtime: Annotated[str, unkeyed]
    shown: Annotated[str, unkeyed]
    aux: Annotated[tuple[Aux, ...], unkeyed] = ()
    sources: Annotated[tuple[str, ...], unkeyed] = ()
    """Paths under the working folder at which the needs `source PATH` are laid."""
    timeout: Annotated[float | None, unkeyed] = None
    resources: Annotated[Resources, unkeyed] = field(default_factory=Resources)
    monitored: Annotated[bool, unkeyed] = False
    """Whether its memory is to be measured as well as the runtime can, whatever that takes."""
    scaling: Annotated[object | None, unkeyed] = None
    """What the plugin that planned it wants to know when it is asked to size the step."""
    skip_codes: Annotated[tuple[int, ...], unkeyed] = ()
    """Exit codes with which the command says that it had nothing to do: then it is skipped."""

    @property
    def bound(self) -> Bound:
        """The channels that are used where they are."""
        return next((facet for facet in self.facets if isinstance(facet, Bound)), Bound())

    @property
    def workdir(self) -> str | None:
        """The folder of its image that it begins in, where that is not coopery's own."""
        return next((facet.workdir for facet in self.facets if isinstance(facet, Begins)), None)
