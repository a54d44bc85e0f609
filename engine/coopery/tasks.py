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
    """A channel as the task sees it: `base` name, a `folder` made beforehand, a fixed `mount`."""

    name: str
    base: str
    folder: bool = False
    mount: str | None = None


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
    """What plugins' own keys of the task say, besides what it runs: for the runtime to heed."""

    runtime: Annotated[str, unkeyed]
    shown: Annotated[str, unkeyed]
    aux: Annotated[tuple[Aux, ...], unkeyed] = ()
    sources: Annotated[tuple[str, ...], unkeyed] = ()
    """Paths under the working folder at which the needs `source PATH` are laid."""
    timeout: Annotated[float | None, unkeyed] = None
    resources: Annotated[Resources, unkeyed] = field(default_factory=Resources)
    skip_codes: Annotated[tuple[int, ...], unkeyed] = ()
    """Exit codes with which the command says that it had nothing to do: then it is skipped."""
