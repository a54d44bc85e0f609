"""How much memory a task's data asks for: the rules of its channels, counted out (row K4)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery.errors import Problem, RecipeError
from coopery_taskapi.merging import Channel, TaskInstance
from coopery_taskapi.models import ScaleRule


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a rule counts in a channel's data: `size` in bytes, of these `files` (path from the
    channel's folder, bytes). Of `max_item_sum`, `item` is the folder that has the most.
    """

    size: int
    files: tuple[tuple[str, int], ...]
    item: str | None = None


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """What a channel's rule asks for: `memory` in bytes, its factor times what was counted."""

    channel: str
    rule: ScaleRule
    counted: Counted
    memory: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory of a task, in bytes: the largest of what is stated and what each rule asks for.

    None where nothing says anything.
    """

    limit: int | None
    request: int | None
    requirements: tuple[Requirement, ...]


def memory_of(instance: TaskInstance) -> Memory:
    """What a task asks for, with the data that its channels have now.

    Raises RecipeError (`missing-input`, `empty-channel`), for all channels at once.
    """
    requirements: list[Requirement] = []
    problems: list[Problem] = []
    for channel in (*instance.inputs, *instance.outputs):
        if channel.scale_rule is None:
            continue
        try:
            requirements.append(require(channel, channel.scale_rule))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(*problems)
    stated = {"limit": instance.limits, "request": instance.requests}
    found: dict[str, int | None] = {}
    for kind, amounts in stated.items():
        asked = [r.memory for r in requirements if r.rule.type == kind]
        if "memory" in amounts:
            asked.append(math.ceil(amounts["memory"].value))
        # A rule that counts nothing asks for nothing; a limit of no bytes would be none.
        found[kind] = max(asked, default=0) or None
    return Memory(limit=found["limit"], request=found["request"], requirements=tuple(requirements))


def require(channel: Channel, rule: ScaleRule) -> Requirement:
    """What one channel's rule asks for. Raises RecipeError (`missing-input`, `empty-channel`)."""
    counted = count(Path(channel.host_path), rule, channel.name)
    memory = math.ceil(rule.scale_factor * counted.size)
    return Requirement(channel=channel.name, rule=rule, counted=counted, memory=memory)


def count(folder: Path, rule: ScaleRule, channel: str) -> Counted:
    """What a rule counts in a folder. Raises RecipeError (`missing-input`, `empty-channel`)."""
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where it may not look
        message = f"there is no folder {folder}, by which the memory of {channel!r} scales"
        hint = "make it, or name the one that has the data"
        raise RecipeError(Problem(slug="missing-input", message=message, hint=hint))
    target = rule.target_dir or "."
    if rule.mode != "max_item_sum":
        files = tuple(_matching(folder, folder / target, rule))
        sizes = [size for _, size in files]
        size = max(sizes, default=0) if rule.mode == "max_file_size" else sum(sizes)
        return Counted(size=size, files=files)
    items = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not items:
        message = f"the channel {channel!r} has no item: {folder} has no folder in it"
        hint = "put each item into a folder of its own; or let the rule's mode be `sum`"
        raise RecipeError(Problem(slug="empty-channel", message=message, hint=hint))
    counted = [_item(folder, name, target, rule) for name in items]
    return max(counted, key=lambda one: one.size)


def _item(folder: Path, name: str, target: str, rule: ScaleRule) -> Counted:
    files = tuple(_matching(folder, folder / name / target, rule))
    return Counted(size=sum(size for _, size in files), files=files, item=name)


def _matching(channel: Path, target: Path, rule: ScaleRule) -> Iterator[tuple[str, int]]:
    """The files that a rule counts beneath `target`, which is within the channel.

    A link counts as what it leads to, where that is within the channel, too.
    """
    top = os.path.realpath(channel)
    if not _is_beneath(target, top):
        return
    pattern = re.compile(rule.target_regex or ".*", re.DOTALL)
    glob = rule.target_glob or "*"
    for path in sorted(target.rglob(glob)):
        relative = path.relative_to(target).as_posix()
        if pattern.fullmatch(relative) and path.is_file() and _is_beneath(path, top):
            yield path.relative_to(channel).as_posix(), path.stat().st_size


def _is_beneath(path: Path, top: str) -> bool:
    real = os.path.realpath(path)
    return real == top or real.startswith(f"{top}/")


def explain(requirement: Requirement, most: int = 5) -> Sequence[str]:
    """The sum behind a requirement, in lines for people: the largest files first."""
    rule, counted = requirement.rule, requirement.counted
    within = rule.target_dir or "."
    what = f"{rule.target_glob or '*'} and {rule.target_regex or '.*'}"
    where = f"of the item {counted.item}" if counted.item else f"beneath {within}"
    lines = [
        f"{rule.scale_factor:g} x {counted.size} B = {requirement.memory} B",
        f"{rule.mode} {where}, files that match {what}: {len(counted.files)}",
    ]
    files = sorted(counted.files, key=lambda item: (-item[1], item[0]))
    lines += [f"  {size} B  {name}" for name, size in files[:most]]
    if len(files) > most:
        rest = sum(size for _, size in files[most:])
        lines.append(f"  {rest} B  in {len(files) - most} more")
    return lines
