"""Python, the programs that coopery calls, cores and memory."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from coopery.findings import Finding
from coopery.quantities import show_bytes

_LEAST_PYTHON = (3, 11)
_LITTLE = 512 << 20
"""Bytes of memory that hardly let a task run."""
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_PATIENCE = 10


def look() -> Iterator[Finding]:
    """All of it."""
    yield _python()
    yield _uv()
    yield _git()
    yield Finding(subject="cores", state="ok", text=f"{len(os.sched_getaffinity(0))}")
    yield _memory()


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}, {sys.platform} {platform.machine()}"
    if sys.platform != "linux":
        hint = "coopery is made for Linux: use a virtual machine or a container"
        return Finding(subject="python", state="error", text=text, hint=hint)
    if sys.version_info[:2] < _LEAST_PYTHON:
        hint = "install Python 3.11 or newer"
        return Finding(subject="python", state="error", text=text, hint=hint)
    return Finding(subject="python", state="ok", text=text)


def _uv() -> Finding:
    from coopery.indexes import uv_binary

    hint = "install coopery again: uv is one of its dependencies"
    try:
        said = _ask(uv_binary())
    except (FileNotFoundError, PermissionError) as error:
        return Finding(subject="uv", state="error", text=str(error), hint=hint)
    if said is None:
        return Finding(subject="uv", state="error", text="it does not run", hint=hint)
    return Finding(subject="uv", state="ok", text=said)


def _git() -> Finding:
    found = shutil.which("git")
    said = _ask(found) if found else None
    if said is None:
        text = "it is not there, or does not run: records name no commit"
        hint = "install git"
        return Finding(subject="git", state="warning", text=text, hint=hint)
    return Finding(subject="git", state="ok", text=said)


def _ask(program: str) -> str | None:
    """The first line of what `PROGRAM --version` says; None where it fails."""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    said = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    total, free = (int(said[name][0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = _limit()
    text = f"{show_bytes(free)} of {show_bytes(total)} available"
    if limit is not None and limit < total:
        text += f"; this process may use {show_bytes(limit)}"
        free = min(free, limit)
    if free < _LITTLE:
        hint = "end other programs, or run fewer steps at a time with -j"
        return Finding(subject="memory", state="warning", text=text, hint=hint)
    return Finding(subject="memory", state="ok", text=text)


def _limit() -> int | None:
    """The memory limit of the container this is in; None if there is none."""
    for name in _LIMITS:
        try:
            text = (Path("/sys/fs/cgroup") / name).read_text("ascii").strip()
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue
        if text.isdigit():
            return int(text)
    return None
