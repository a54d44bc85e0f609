"""How much memory a task's data asks for: the rules of its channels, counted out (row K4)."""

from __future__ import annotations

import math
import os
import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from coopery.errors import KeyPath, Problem, RecipeError, problem
from coopery.quantities import show_bytes
from coopery_taskapi.matching import matching
from coopery_taskapi.merging import Channel, TaskInstance
from coopery_taskapi.models import ScaleRule

Parts = Sequence[tuple[str, Path]]
"""What a channel's data is: files and folders, each with its path in the channel; empty for all."""
Files = Sequence[tuple[str, int]]
"""Files of a channel: the path from the channel's folder, and the size in bytes."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a rule counts in a channel's data: `size` in bytes, of these `files`. Of `max_item_sum`,
    `item` is the folder that has the most.
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


def memory_of(instance: TaskInstance, data: Mapping[str, Parts] | None = None) -> Memory:
    """What a task asks for, with the data that its channels have now: that at their paths, or the
    `data` given by channel.

    Raises RecipeError (`missing-input`, `empty-channel`), for all channels at once.
    """
    requirements: list[Requirement] = []
    problems: list[Problem] = []
    for channel in (*instance.inputs, *instance.outputs):
        if channel.scale_rule is None:
            continue
        parts = (("", Path(channel.host_path)),) if data is None else data.get(channel.name, ())
        try:
            requirements.append(require(channel, channel.scale_rule, parts))
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


def above(request: int, limit: int, key: KeyPath) -> Problem:
    """That data asks for more than the task may have (`request-above-limit`)."""
    asked, most = f"{show_bytes(request)} ({request} B)", f"{show_bytes(limit)} ({limit} B)"
    message = f"its data asks for {asked} of memory, and its limit is {most}"
    hint = "raise the limit of memory, or let the rule's type be `limit`"
    return problem("request-above-limit", message, key=key, hint=hint)


def require(channel: Channel, rule: ScaleRule, parts: Parts) -> Requirement:
    """What one channel's rule asks for. Raises RecipeError (`missing-input`, `empty-channel`)."""
    counted = count(parts, rule, channel.name)
    # What is far too much is told by who has to give it, as a number.
    memory = math.ceil(min(rule.scale_factor * counted.size, sys.float_info.max))
    return Requirement(channel=channel.name, rule=rule, counted=counted, memory=memory)


def count(parts: Parts, rule: ScaleRule, channel: str) -> Counted:
    """What a rule counts in a channel. Raises RecipeError (`missing-input`, `empty-channel`)."""
    for inner, path in parts:
        if not inner and not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise
            message = f"there is no folder {path}, by which the memory of {channel!r} scales"
            hint = "make it, or name the one that has the data"
            raise RecipeError(Problem(slug="missing-input", message=message, hint=hint))
    files, folders = list_files(parts)
    target = rule.target_dir or "."
    if rule.mode != "max_item_sum":
        found = tuple(_matching(_beneath(files, target, rule), rule))
        sizes = [size for _, size in found]
        size = max(sizes, default=0) if rule.mode == "max_file_size" else sum(sizes)
        return Counted(size=size, files=found)
    items = sorted(folders)
    if not items:
        message = f"the channel {channel!r} has no item: {_shown(parts)} has no folder in it"
        hint = "put each item into a folder of its own; or let the rule's mode be `sum`"
        raise RecipeError(Problem(slug="empty-channel", message=message, hint=hint))
    return max(_items(files, items, target, rule), key=lambda one: one.size)


def _shown(parts: Parts) -> str:
    return str(parts[0][1]) if len(parts) == 1 else "it"


def list_files(parts: Parts) -> tuple[Files, frozenset[str]]:
    """All files of a channel, in order, and the names of the folders that lie in it at once.

    A link counts as what it leads to, where that is a file within the channel's data, too; links to
    folders are not followed.
    """
    tops = tuple(os.path.realpath(path) for _, path in parts)
    files: list[tuple[str, int]] = []
    folders: set[str] = set()
    for inner, path in parts:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise
            for relative, is_folder, size in _walk(str(path), inner, tops):
                if is_folder and "/" not in relative:
                    folders.add(relative)
                elif not is_folder:
                    files.append((relative, size))
        elif os.path.isfile(path):  # noqa: PTH113
            files.append((inner or path.name, path.stat().st_size))
        if "/" in inner or (inner and os.path.isdir(path)):  # noqa: PTH112
            folders.add(inner.partition("/")[0])
    return sorted(files), frozenset(folders)


def _walk(top: str, inner: str, tops: tuple[str, ...]) -> Iterator[tuple[str, bool, int]]:
    """What lies in a folder: path within the channel, whether it is a folder, and its size.

    What is taken away meanwhile, by whoever works there, is not there.
    """
    stack = [(top, inner)]
    while stack:
        folder, within = stack.pop()
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                relative = posixpath.join(within, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    stack.append((entry.path, relative))
                    yield relative, True, 0
                elif entry.is_symlink() and not _is_beneath(entry.path, tops):
                    continue
                # What os.path says of links that lead in circles is no error.
                elif os.path.isfile(entry.path):  # noqa: PTH113
                    with suppress(FileNotFoundError):
                        yield relative, False, entry.stat().st_size
                elif os.path.isdir(entry.path):  # noqa: PTH112
                    yield relative, True, 0


def _is_beneath(path: str, tops: tuple[str, ...]) -> bool:
    real = os.path.realpath(path)
    return any(real == top or real.startswith(f"{top}/") for top in tops)


def _beneath(files: Files, target: str, rule: ScaleRule) -> Iterator[tuple[str, str, int]]:
    """Of the files beneath `target`, a path within the channel, that the glob matches: the path,
    that from `target`, and the size.
    """
    glob = rule.target_glob or "*"
    before = "" if target == "." else f"{target}/"
    for path, size in files:
        if path.startswith(before) and matches_end(relative := path[len(before) :], glob):
            yield path, relative, size


def _matching(files: Iterable[tuple[str, str, int]], rule: ScaleRule) -> list[tuple[str, int]]:
    """Of files with their paths from the target, those that the regular expression matches."""
    found = tuple(files)
    relatives = list(dict.fromkeys(relative for _, relative, _ in found))
    good = matching(rule.target_regex or ".*", relatives)
    return [(path, size) for path, relative, size in found if relative in good]


def _items(files: Files, names: Sequence[str], target: str, rule: ScaleRule) -> Iterator[Counted]:
    """What a rule counts in each folder of a channel."""
    within: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for path, size in files:
        top, slash, _ = path.partition("/")
        if slash and top in within:
            within[top].append((path, size))
    # All are matched at once, as that may be in a process of its own.
    counted: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    candidates = (
        found
        for name in names
        for found in _beneath(within[name], posixpath.normpath(f"{name}/{target}"), rule)
    )
    for path, size in _matching(candidates, rule):
        counted[path.partition("/")[0]].append((path, size))
    for name, found in counted.items():
        yield Counted(size=sum(size for _, size in found), files=tuple(found), item=name)


def matches_end(path: str, glob: str) -> bool:
    """Whether a glob matches the end of a file's path, as `pathlib` has it: `*`, `?` and `[…]`
    stand for characters of one name, `**` for any folders.
    """
    names, patterns = path.split("/"), ("**", *PurePosixPath(glob).parts)
    # What the patterns so far may have matched of the names, as how many names that is.
    reached = {0}
    for pattern in patterns:
        if pattern == "**":
            reached = set(range(min(reached), len(names))) if reached else reached
        else:
            good = (n for n in reached if n < len(names) and fnmatchcase(names[n], pattern))
            reached = {n + 1 for n in good}
    return len(names) in reached


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
