"""Whether the package index that is configured answers: what `doctor` says of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coopery.dependencies import DependencySet, IndexOptions
from coopery.errors import MachineError
from coopery.findings import Finding
from coopery.indexes import InstallerSettings, installer_environment
from coopery_lock.explain import explain
from coopery_lock.processes import Processes

_PATIENCE = 8.0
"""Seconds for the whole answer."""
_ASKED = "pip"
"""A package to ask for; an index that says it has none answers just as well."""
_HINT = "check the network and the index configuration (pip's, or uv's)"


def look() -> Finding:
    """Ask uv for one small package, past its cache, with the configuration that `lock` takes."""
    try:
        settings = installer_environment(IndexOptions())
    except MachineError as error:
        told = error.problems[0]
        text = f"{told.place}: {told.message}" if str(told.place) else told.message
        return Finding(subject="index", state="error", text=text, hint=told.hint)
    if "--no-index" in settings.flags:
        return Finding(subject="index", state="ok", text="none: --no-index is configured")
    began = time.monotonic()
    story = _ask(settings)
    if story is None:
        text = f"{settings.index} does not answer within {_PATIENCE:g} s"
        return Finding(subject="index", state="error", text=text, hint=_HINT)
    if story:
        python = ".".join(map(str, sys.version_info[:2]))
        asked = DependencySet(
            image="", python=python, requirements=(), locals=(), index=IndexOptions()
        )
        reason = explain(story, asked)
        # Anything that concerns the package alone means that the index has answered.
        if isinstance(reason, MachineError):
            said = reason.problems[0]
            return Finding(subject="index", state="error", text=said.message, hint=said.hint)
    text = f"{settings.index} answers ({time.monotonic() - began:.1f} s)"
    return Finding(subject="index", state="ok", text=text)


def _ask(settings: InstallerSettings) -> str | None:
    """What uv said when it failed; nothing if it did not; None if it took too long."""
    # The user's own settings win; without them, it should fail soon.
    quickly = {"UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
    with tempfile.TemporaryDirectory(prefix="coopery-doctor-") as name:
        wanted = Path(name) / "requirements.in"
        wanted.write_text(f"{_ASKED}\n", "utf-8")
        command = ["pip", "compile", "--no-header", "--no-progress", "--color", "never"]
        command += ["--no-cache", "--no-deps", "--python", sys.executable, *settings.flags]
        output = ("--output-file", str(Path(name) / "chosen.txt"), str(wanted))
        environment = {**quickly, **os.environ, **settings.variables}
        try:
            done = Processes().run(
                [*command, *output], environment, Path.cwd(), _PATIENCE, told=settings.confided
            )
        except subprocess.TimeoutExpired:
            return None
    return "" if done.code == 0 else done.story or "uv gave no reason"
