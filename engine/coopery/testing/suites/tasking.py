"""What the parts of the runtime suite share: a recipe under a runtime, and how it must end."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from coopery.testing.projects import Answer, Project, make_project

SECONDS = 60
"""How long to wait for what must happen: much longer than it takes, for loaded machines."""


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for what must happen soon."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def processes(marker: str) -> list[int]:
    """The living processes with `marker` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid in found if pid != os.getpid()]


class RuntimeFixtures:
    """What a runtime must do. Name it: `runtime`.

    `head` is TOML put before each recipe, for runtimes whose tasks need an image (`[defaults]`);
    `task_image` names that for recipes in Python.
    `cannot` maps what the runtime cannot do to the reason: `cancel`, `daemons`, `environment`,
    `exit-code`, `functions`, `gathered`, `mounts`, `peak-memory`, `python`, `read-only`,
    `scratch`, `secrets`, `skip-codes`, `sources`, `timeout`. Tests of these are skipped and say
    so. Tasks are POSIX shell commands; those of `python` call `python3`.
    """

    runtime: ClassVar[str] = "local"
    head: ClassVar[str] = ""
    task_image: ClassVar[str | None] = None
    cannot: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        """The project to write recipes in. Override it to install the plugin of the runtime."""
        return make_project(tmp_path)

    @pytest.fixture
    def marker(self) -> Iterator[str]:
        """A word to know processes by; those that a failed test left are killed."""
        word = f"marker-{secrets.token_hex(8)}"
        yield word
        for pid in processes(word):
            os.kill(pid, signal.SIGKILL)

    def can(self, what: str) -> None:
        """Skip the test where the runtime cannot do this."""
        if what in self.cannot:
            pytest.skip(f"{self.runtime} cannot: {what} ({self.cannot[what]})")

    def recipe(self, project: Project, text: str) -> None:
        """Write the recipe, with the runtime's own lines before it."""
        project.write("recipe.toml", dedent(self.head) + dedent(text))

    def call(self, project: Project, *arguments: str, **options: Any) -> Answer:
        """`coopery run` under this runtime."""
        return project.coopery("run", "-r", self.runtime, "--json", *arguments, **options)

    def succeed(self, project: Project, *arguments: str, **options: Any) -> dict[str, Any]:
        """`coopery run`, which must end well: the steps of its record by name."""
        answer = self.call(project, *arguments, **options)
        assert answer.exit_code == 0, answer.stderr
        return {step["step"]: step for step in answer.json["steps"]}

    def fail(self, project: Project, slug: str | None = None) -> dict[str, Any]:
        """`coopery run`, in which the task `a` must fail: its step."""
        answer = self.call(project)
        assert answer.exit_code == 1, answer.stderr
        assert "Traceback" not in answer.stderr
        step: dict[str, Any] = next(s for s in answer.json["steps"] if s["step"] == "a")
        assert step["state"] == "failed" and step["problems"]
        if slug:
            assert [problem["slug"] for problem in step["problems"]] == [slug]
        return step
