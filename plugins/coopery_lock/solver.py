"""One resolution with uv: a dependency set in, exact packages with hashes out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coopery.dependencies import DependencySet, Requirement
from coopery.errors import MachineError, Problem, RecipeError
from coopery.indexes import installer_environment, redact
from coopery_lock.explain import explain
from coopery_lock.lines import name_of, normalise
from coopery_lock.lockfile import Package
from coopery_lock.stubs import write_stub


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How uv ended: `story` is what it said on stderr, without credentials."""

    code: int
    story: str


def solve(
    dependencies: DependencySet, preferred: tuple[Package, ...], root: Path, limit: float
) -> tuple[Package, ...]:
    """The packages of a set, sorted by name; `preferred` versions stay where they still fit.

    `limit` is in seconds. Raises RecipeError for what the requirements cannot have, MachineError
    for an index that does not answer.
    """
    _check_locals(dependencies)
    variables, arguments = installer_environment(dependencies.index, root=root)
    with tempfile.TemporaryDirectory(prefix="coopery-lock-") as name:
        folder = Path(name)
        command = [*_command(dependencies, folder, preferred), *arguments]
        finished = run_uv(command, {**os.environ, **variables}, root, limit, dependencies)
        if finished.code != 0:
            raise explain(_plain(finished.story, folder), dependencies)
        document = tomllib.loads((folder / "pylock.toml").read_text("utf-8"))
    return _packages(document, dependencies)


def _check_locals(dependencies: DependencySet) -> None:
    seen: dict[str, str] = {}
    for local in dependencies.locals:
        other = seen.setdefault(normalise(local.name), str(local.place))
        if other != str(local.place):
            message = f"{local.name} is brought twice, also at {other}"
            raise RecipeError(Problem(slug="duplicate-local", message=message, place=local.place))


def _command(
    dependencies: DependencySet, folder: Path, preferred: tuple[Package, ...]
) -> list[str]:
    """uv's argument list; everything a user wrote goes into files in `folder`."""
    import uv

    wanted = [r.line for r in dependencies.requirements if not r.constraint]
    for local in dependencies.locals:
        extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
        wanted.append(f"{local.name}{extras} @ {write_stub(folder, local).as_uri()}")
    limits = [r.line for r in dependencies.requirements if r.constraint]
    for file, lines in (("requirements.in", wanted), ("constraints.in", limits)):
        (folder / file).write_text("".join(f"{line}\n" for line in sorted(lines)), "utf-8")
    # uv keeps the versions it finds in an existing output file.
    old = [
        f'[[packages]]\nname = "{p.name}"\nversion = "{p.version}"\n'
        for p in preferred
        if not p.url
    ]
    header = 'lock-version = "1.0"\ncreated-by = "coopery"\n'
    output = folder / "pylock.toml"
    if old:
        output.write_text(header + "".join(old), "utf-8")
    command = [uv.find_uv_bin(), "pip", "compile", "--format", "pylock.toml", "--quiet"]
    command += ["--no-header", "--no-annotate", "--no-progress", "--color", "never"]
    command += ["--python-version", dependencies.python, "--output-file", str(output)]
    if dependencies.python == ".".join(map(str, sys.version_info[:2])):
        command += ["--python", sys.executable]
    return [
        *command,
        "--constraints",
        str(folder / "constraints.in"),
        str(folder / "requirements.in"),
    ]


def run_uv(
    command: list[str],
    environment: Mapping[str, str],
    cwd: Path,
    limit: float,
    dependencies: DependencySet,
) -> Finished:
    """Run uv in a session of its own, so that builds it started end with it."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _, story = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        message = f"image {dependencies.image!r}: no resolution within {limit:g} s"
        hint = "--resolve-timeout allows more; an index may be slow, or the ranges too wide"
        raise MachineError(Problem(slug="resolution-timeout", message=message, hint=hint)) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Finished(code=process.returncode, story=redact(story))


def _plain(story: str, folder: Path) -> str:
    """uv's words without the names of our temporary files."""
    return story.replace(folder.as_uri() + "/", "").replace(f"{folder}/", "")


def _packages(document: Mapping[str, Any], dependencies: DependencySet) -> tuple[Package, ...]:
    """The pins, without what is brought locally; hashes that the user gave narrow them."""
    own = {normalise(local.name) for local in dependencies.locals}
    urls = _urls(dependencies)
    given: dict[str, set[str]] = {}
    asking: dict[str, Requirement] = {}
    for item in dependencies.requirements:
        if item.hashes:
            given.setdefault(name_of(item.line), set()).update(item.hashes)
            asking[name_of(item.line)] = item
    found: list[Package] = []
    problems: list[Problem] = []
    for table in document.get("packages", ()):
        name = normalise(table["name"])
        if name in own:
            continue
        archive = table.get("archive")
        files = [archive] if archive else [*table.get("wheels", ()), table.get("sdist") or {}]
        hashes = {f"{k}:{v}" for file in files for k, v in file.get("hashes", {}).items()}
        package = Package(name=name, version=table.get("version", ""), hashes=tuple(sorted(hashes)))
        if archive:
            package = replace(package, url=urls.get(name) or archive.get("url"))
        if name in given:
            kept = _narrow(hashes, given[name])
            if not kept:
                message = f"no file of {name} {package.version} has a hash that is given for it"
                place = asking[name].place
                problems.append(Problem(slug="hash-mismatch", message=message, place=place))
            package = replace(package, hashes=kept)
        elif not hashes:
            problems.append(_no_hashes(package, dependencies))
        found.append(package)
    if problems:
        raise RecipeError(*problems)
    return tuple(sorted(found, key=lambda p: p.name))


def _urls(dependencies: DependencySet) -> dict[str, str]:
    """Direct references as written: with `${VARIABLE}` where uv knows the secret in its place."""
    lines = [r.line for r in dependencies.requirements]
    lines += [r.line for local in dependencies.locals for r in local.requires]
    split = ((name_of(line), re.split(r"\s+@\s+|@", line, maxsplit=1)) for line in lines)
    return {
        name: re.split(r"\s+;|\s*$", parts[1], maxsplit=1)[0].strip()
        for name, parts in split
        if len(parts) == 2 and "://" in parts[1]
    }


def _narrow(hashes: set[str], given: set[str]) -> tuple[str, ...]:
    """The hashes that both know; those of algorithms the index does not give stay as given."""
    other = {value for value in given if not value.startswith("sha256:")}
    return tuple(sorted(other | (hashes & given)))


def _no_hashes(package: Package, dependencies: DependencySet) -> Problem:
    message = f"image {dependencies.image!r}: the index gives no hash of {package.name}"
    hint = f"give one in a requirements file: {package.name}=={package.version} --hash=sha256:…"
    return Problem(slug="no-hashes", message=message, hint=hint)
