"""A project to write recipes in, and the installed command to run them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coopery.testing.forking import Zygotes

_zygotes: Zygotes | None = None


def fork_calls(fork: bool = True) -> None:
    """From here on `Project.coopery` forks its processes off one that has imported coopery.

    That spares most of the time of a short call. What differs is told in `coopery.testing.forking`.
    """
    global _zygotes
    from coopery.testing.forking import Zygotes

    _zygotes = Zygotes() if fork else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call of the command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Stdout, read as JSON."""
        return json.loads(self.stdout)

    @property
    def slugs(self) -> tuple[str, ...]:
        """The slugs of the errors told, in order."""
        import re

        return tuple(re.findall(r"^error: .*\[([a-z-]+)\]$", self.stderr, re.MULTILINE))

    def told(self, slug: str) -> str:
        """The error of this slug, with its hint. Raises AssertionError when it was not told."""
        lines = self.stderr.splitlines()
        for number, line in enumerate(lines):
            if line.endswith(f"[{slug}]"):
                end = number + 1
                while end < len(lines) and lines[end].startswith("  "):
                    end += 1
                return "\n".join(lines[number:end])
        raise AssertionError(f"{slug} was not told:\n{self.stderr}")


def call(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    together: bool = False,
    real: bool = False,
) -> Answer:
    """Call the installed command in a folder, with these variables and no others.

    With `together`, what goes to stderr is found in `stdout`, in its place.
    After `fork_calls` the process is forked where that is the same; `real` forbids it.
    """
    if _zygotes is not None and not real:
        forked = _zygotes.call(arguments, cwd=cwd, env=env, together=together)
        if forked is not None:
            code, *streams = forked
            out, err = (io.TextIOWrapper(io.BytesIO(text)).read() for text in streams)
            return Answer(exit_code=code, stdout=out, stderr=err)
    done = subprocess.run(
        [sys.executable, "-m", "coopery", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        text=True,
        check=False,
    )
    return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr or "")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a recipe, and a home folder beside it."""

    root: Path
    home: Path

    @property
    def site(self) -> Path:
        """Where plugins that only this project's calls see are installed."""
        return self.home.with_name("site")

    def plugin(self, name: str, source: str | Path, *, value: str | None = None) -> Path:
        """Install a plugin for the calls of this project alone, as an installer would leave it.

        `source` is the text of its module, or the folder of its package. `name` names module and
        entry point; `value` is what the entry point says, if that is more than the module.
        """
        self.site.mkdir(exist_ok=True)
        if isinstance(source, Path):
            shutil.copytree(source, self.site / name, ignore=shutil.ignore_patterns("__pycache__"))
            made = self.site / name
        else:
            made = self.site / f"{name}.py"
            made.write_text(dedent(source).lstrip("\n"), "utf-8")
        self.distribution(f"coopery-{name}", {name: value or name})
        return made

    def distribution(self, name: str, entry_points: Mapping[str, str]) -> None:
        """Install the metadata of a distribution that has these entry points for coopery."""
        info = self.site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, "utf-8")
        lines = [f"{key} = {value}\n" for key, value in entry_points.items()]
        (info / "entry_points.txt").write_text("[coopery]\n" + "".join(lines), "utf-8")

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables for a call of the command in this project."""
        found = {**os.environ, "COOPERY_HOME": str(self.home)}
        if self.site.exists():
            paths = [str(self.site), os.environ.get("PYTHONPATH", "")]
            found["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return {**found, **(env or {})}

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project, its text dedented; folders are made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")
        return path

    def read(self, name: str) -> str:
        """The text of a file of the project."""
        return (self.root / name).read_text("utf-8")

    def coopery(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        real: bool = False,
    ) -> Answer:
        """Call the installed command in the project, as a user would.

        After `fork_calls` the process is forked where that is the same; `real` forbids it.
        """
        return call(*arguments, cwd=cwd or self.root, env=self.environment(env), real=real)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command without waiting for it: in a process group of its own, stderr piped."""
        return subprocess.Popen(
            [sys.executable, "-m", "coopery", *arguments],
            cwd=self.root,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **options: Any) -> dict[str, dict[str, Any]]:
        """`coopery run --json`: the record's steps, by name. The run must end with exit code 0."""
        answer = self.coopery("run", "--json", *arguments, **options)
        assert answer.exit_code == 0, answer.stderr
        return {step["step"]: step for step in answer.json["steps"]}

    def forecast(self, *arguments: str) -> dict[str, str]:
        """`coopery run --dry-run --json`: each step's verdict."""
        answer = self.coopery("run", "--dry-run", "--json", *arguments)
        assert answer.exit_code == 0, answer.stderr
        return {step["step"]: step["forecast"] for step in answer.json["steps"]}


def performed(steps: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """The steps of a run that were performed, in plan order."""
    return [name for name, step in steps.items() if not step["cached"]]


def make_project(folder: Path) -> Project:
    """A project and a home folder in an empty folder."""
    root = folder / "project"
    root.mkdir()
    return Project(root=root, home=folder / "home")
