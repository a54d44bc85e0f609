"""Make a wheel: build it from a clean copy or take it as given; verify it and repack it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from coopery.errors import StepError, problem
from coopery.steps import Made, Workspace
from coopery_wheels import archives, building, trees
from coopery_wheels.work import WheelBuild, WheelFile, WheelGit, WheelRelease


def perform(work: WheelBuild | WheelFile | WheelGit | WheelRelease, workspace: Workspace) -> Made:
    """Make a folder that holds exactly one wheel. Raises StepError."""
    match work:
        case WheelBuild():
            source, facts = _build(work, workspace)
        case WheelGit():
            source, facts = _build_commit(work, workspace)
        case WheelRelease():
            from coopery_wheels import releasing

            source, facts = releasing.fetch(work, workspace), {"mode": "release"}
        case WheelFile():
            source, facts = workspace.inputs["wheel"], {}
            given = workspace.step.needs[0].name
            if source.name != given:
                # Stores keep bytes under names of their own; a wheel's name is part of it.
                source = Path(shutil.copyfile(source, workspace.folder / given))
    wheel = archives.repack(source, workspace.folder / "wheel")
    name, version = archives.name_and_version(wheel.name)
    _verify(work, wheel.name, name, version)
    with wheel.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Made(
        outputs={"wheel": wheel.parent},
        facts={"wheel": wheel.name, "sha256": sha256, "version": version, **facts},
    )


def _build(work: WheelBuild, workspace: Workspace) -> tuple[Path, Mapping[str, Any]]:
    base = workspace.folder / "tree"
    place = trees.place_in(work.root, base) if work.vcs else base
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(workspace.inputs["project"], place, symlinks=True)
    if work.vcs:
        trees.add_repository(work.root, base)
    bench = _bench(work, workspace)
    commit, dirty = trees.commit(work.root)
    # A remembered wheel keeps its facts: these are of when it was built, not of the run at hand.
    built_at = {"commit": commit, "dirty": dirty} if commit else None
    return building.build_wheel(place, bench), {"mode": "editable", "built_at": built_at}


def _build_commit(work: WheelGit, workspace: Workspace) -> tuple[Path, Mapping[str, Any]]:
    from coopery.git_faults import shown
    from coopery_wheels.checkouts import checked_out

    facts = {"mode": "git", "commit": work.commit, "repository": shown(work.repository.url)}
    with checked_out(work, workspace) as place:
        built = building.build_wheel(place, _bench(work, workspace))
    shutil.rmtree(workspace.folder / "tree")
    return built, facts


def _bench(work: WheelBuild | WheelGit, workspace: Workspace) -> building.Bench:
    return building.Bench(
        python=work.python,
        home=workspace.home,
        log=workspace.log,
        scratch=workspace.folder,
        cancelled=workspace.cancelled,
        origin=replace(work.origin, secrets=workspace.secrets),
    )


def _verify(
    work: WheelBuild | WheelFile | WheelGit | WheelRelease, filename: str, name: str, version: str
) -> None:
    """What was built must be what was planned, since the lock was made for that."""
    if name != work.distribution:
        message = f"the wheel {filename} is of {name}, not of {work.distribution}"
        hint = "its metadata is not what it builds: mend `name` in the project's pyproject.toml"
        if isinstance(work, WheelGit):
            hint = f'the package is called so: package = "{name}"'
        raise StepError(problem("wheel-mismatch", message, hint=hint))
    match work:
        case WheelBuild(static_version=str(wanted)):
            said = "the project says"
            hint = "its metadata is not what it builds: mend `version` in its pyproject.toml"
        case WheelGit(release=str(wanted)):
            said = "the lock says"
            hint = "its version depends on more than its commit: write it into its pyproject.toml"
        case WheelRelease():
            wanted, said = work.release, "the lock says"
            hint = "the index gives another file than it names: renew the lock, or ask who runs it"
        case _:
            return
    try:
        same = Version(wanted) == Version(version)
    except InvalidVersion:
        same = False
    if not same:
        message = f"the wheel {filename} has version {version}, {said} {wanted}"
        raise StepError(problem("wheel-mismatch", message, hint=hint))
