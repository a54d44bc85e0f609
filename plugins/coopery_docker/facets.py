"""What a recipe says of a task's container: `container`, and what of it can be honoured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from coopery.errors import KeyPath, Problem, nearest, problem
from coopery.marks import unkeyed

if TYPE_CHECKING:
    from coopery.model import Recipe, Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_LINUX = """
ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE
DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN
MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID
SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE
SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
AS_ROOT = 'let the task run as root by `user = "0:0"`'
_CAPABILITIES = frozenset(_LINUX.split())
"""Those of Linux, and the engine's word for all of them."""


_OWN = "coopery."
"""What the names of the labels begin with by which containers are known as coopery's."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """How a task's container differs from the safe default.

    By default it has the engine's bridge as its network, runs as whoever calls coopery, and has no
    capabilities. `network`: `none`, `host` or one of the engine's; `user`: `NAME`, `UID` or
    `UID:GID`. Capabilities are root's alone: of another user the kernel takes them all. `labels`
    are for people who look at containers: they change nothing.
    """

    network: str | None = None
    user: str | None = None
    capabilities: tuple[str, ...] = ()
    privileged: bool = False
    labels: Annotated[Mapping[str, str], unkeyed] = field(default_factory=dict)

    @property
    def as_root(self) -> bool:
        """Whether the recipe says that it runs as root, whoever calls coopery."""
        return (self.user or "").partition(":")[0] in ("0", "root")

    @property
    def notes(self) -> tuple[str, ...]:
        """What of it a person should see in the plan."""
        found = [f"container network {self.network}"] if self.network else []
        found += [f"container user {self.user}"] if self.user else []
        found += [f"container capability {name}" for name in self.capabilities]
        return (*found, *(("container privileged",) if self.privileged else ()))

    @property
    def run_flags(self) -> tuple[str, ...]:
        """It as the flags of `docker run`."""
        found = ["--network", self.network] if self.network else []
        found += ["--user", self.user] if self.user else []
        found += [word for name in self.capabilities for word in ("--cap-add", name)]
        return (*found, *(("--privileged",) if self.privileged else ()))


def check_elsewhere(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """Under other runtimes there are no containers."""
    for task in recipe.tasks.values():
        facet = task.facet(Container)
        if facet is not None and facet != Container(labels=facet.labels):
            message = f"the runtime {runtime} has no containers"
            key = ("task", task.name, "container")
            yield problem("no-container", message, key=key, hint="use -r docker, or drop it")


def check_tasks(recipe: Recipe) -> Iterator[Problem]:
    """What cannot be run in a container, or would not be safe to."""
    for task in recipe.tasks.values():
        if task.image is None:
            yield problem(
                "no-image",
                "under the runtime docker a task needs an image",
                key=("task", task.name),
                hint="name one by `image`, or for all tasks by `image` under [defaults]",
            )
        yield from _check_facet(task)


def _check_facet(task: Task) -> Iterator[Problem]:
    facet = task.facet(Container)
    if facet is None:
        return
    key: KeyPath = ("task", task.name, "container")
    for name, value in (("network", facet.network), ("user", facet.user)):
        if value is not None and not _NAME.fullmatch(value):
            yield problem("wrong-value", f"{value!r} names no {name}", key=(*key, name))
    for label in facet.labels:
        if label.startswith(_OWN):
            message = f"the label {label!r} is coopery's own"
            where = (*key, "labels", label)
            yield problem("wrong-value", message, key=where, hint="give it another name")
    for number, name in enumerate(facet.capabilities):
        known = name.removeprefix("CAP_")
        if known not in _CAPABILITIES:
            message = f"{name!r} is no capability"
            hint = nearest(known.upper(), _CAPABILITIES)
            yield problem("wrong-value", message, key=(*key, "capabilities", number), hint=hint)
    if facet.capabilities and not facet.as_root:
        who = f"the user {facet.user}" if facet.user else "whoever calls coopery"
        message = f"capabilities are of no effect for {who}: they are root's alone"
        hint = f"{AS_ROOT}, or drop `capabilities`"
        yield problem("wrong-value", message, key=(*key, "capabilities"), hint=hint)
