"""Trees of installed packages: made with uv outside of the image, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.dependencies import Pin
from coopery.errors import MachineError, Problem, StepError, problem
from coopery.fitting import unfit
from coopery.steps import Made, Workspace
from coopery_images import laying
from coopery_images.platforms import OTHERS
from coopery_images.work import INSTALLER, PackageTree

if TYPE_CHECKING:
    from coopery.installing import Installer, Installing

_NO_WHEEL = re.compile(r"\b([A-Za-z0-9][\w.-]*)==(\S+?) has no (?:usable )?wheels")
_BUILD_TOOLS = frozenset(
    (
        *("build", "cmake", "cython", "flit-core", "hatchling", "maturin", "meson", "meson-python"),
        *("ninja", "pip", "poetry-core", "pybind11", "scikit-build-core", "setuptools-rust"),
        *("setuptools-scm", "twine", "wheel"),
    )
)
"""Packages that build others. Without setuptools, which some import when they run."""
_WRONG_HASH = re.compile(r"Hash mismatch for `([^`]+)`")


def make_tree(work: PackageTree, workspace: Workspace) -> Made:
    """Install packages by hash, then wheels, without dependencies, into a tree.

    Raises StepError (`wheel-unavailable`, `hash-mismatch`, `install-failed`, `cancelled`) and
    MachineError (`python-missing`, `disk-full`, `index-credentials`).
    """
    folder = workspace.folder
    (folder / "work").mkdir()
    facts: dict[str, object] = {"packages": len(work.pins), "hints": hints(work.pins)}
    if work.python is not None and work.executable is not None:
        making = folder / "making"
        making.mkdir()
        try:
            wheels = [next(workspace.inputs[role].glob("*.whl")) for role in work.wheels]
            if work.pins or wheels:
                _install(work, workspace, making, wheels)
            laying.lay_out(folder / "env", work.python, work.executable, making / "venv")
        finally:
            shutil.rmtree(making)
        shutil.copyfile(INSTALLER, folder / INSTALLER.name)
        if wheels:
            facts["wheels"] = listing = [_described(wheel) for wheel in wheels]
            text = json.dumps(listing, indent=2, sort_keys=True) + "\n"
            (folder / "wheels.json").write_text(text, "utf-8")
    return Made(outputs={"tree": folder}, facts=facts)


def hints(pins: Sequence[Pin]) -> list[str]:
    """What an image would be smaller without."""
    tools = sorted(pin.name for pin in pins if pin.name in _BUILD_TOOLS)
    if not tools:
        return []
    verb = "are" if len(tools) > 1 else "is"
    names = ", ".join(tools)
    return [f"{names} {verb} only needed to build packages, which images do not: leave {names} out"]


def _described(wheel: Path) -> dict[str, str]:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": wheel.name, "sha256": digest}


def _install(work: PackageTree, workspace: Workspace, making: Path, wheels: Sequence[Path]) -> None:
    from coopery.installing import installer, last_words

    # Set for the caller's own environments; here they would change what is installed, or leave
    # links into a cache that no image has.
    dropped = {"UV_LINK_MODE", "UV_COMPILE_BYTECODE", "UV_TARGET", "UV_PREFIX"}
    if os.environ.get("UV_LINK_MODE") in ("copy", "clone"):
        dropped.discard("UV_LINK_MODE")
    uv = installer(
        work.index,
        work.root,
        log=workspace.log,
        folder=workspace.folder,
        cancelled=workspace.cancelled,
        secrets=workspace.secrets,
        without=dropped,
    )
    venv = making / "venv"
    if failed := uv.run("venv", "--quiet", "--no-project", "--python", sys.executable, str(venv)):
        if error := failed.why():
            raise error
        reason = last_words(failed.said) or "uv gave no reason"
        message = f"no environment can be made with {sys.executable}: {reason}"
        raise MachineError(Problem(slug="python-missing", message=message))
    # uv thinks in the layout of an interpreter of this machine; `laying` makes it the image's.
    install = ["pip", "install", "--quiet", "--no-deps", "--python", str(venv / "bin/python")]
    install += ["--prefix", str(workspace.folder / "env"), "--only-binary", ":all:"]
    install += ["--python-version", work.python or "", "--python-platform", work.platform]
    if work.pins:
        listing = making / "requirements.txt"
        listing.write_text("".join(f"{pin.line}\n" for pin in work.pins), "utf-8")
        hashed = ["--require-hashes"] if all(pin.hashes for pin in work.pins) else []
        if failed := uv.run(*install, *uv.flags, *hashed, "-r", str(listing)):
            raise (
                failed.why()
                or _locked_for_others(uv, work, workspace, failed, making)
                or _failed(work, workspace, failed.said)
            )
    if wheels:
        _check_fit(work, wheels)
        if failed := uv.run(*install, "--no-index", "--", *(str(wheel) for wheel in wheels)):
            raise failed.why() or _failed(work, workspace, failed.said)


def _check_fit(work: PackageTree, wheels: Sequence[Path]) -> None:
    """uv takes a wheel for `linux` on any; whether it works there shows only in the image."""
    hint = (
        "choose another `base`, or name a wheel file for it in `wheels`: one built in that base, "
        "or made portable (manylinux, musllinux)"
    )
    reasons = ((wheel.name, unfit(wheel, work.platform)) for wheel in wheels)
    problems = [
        problem(
            "wheel-unavailable", f"{name} does not fit the base {work.base}: {reason}", hint=hint
        )
        for name, reason in reasons
        if reason
    ]
    if problems:
        raise StepError(*problems)


def _locked_for_others(
    uv: Installer, work: PackageTree, workspace: Workspace, failed: Installing, making: Path
) -> StepError | None:
    """Whether a hash is wrong since the lock knows only files for other platforms: then these
    can be had as they were locked.
    """
    found = _WRONG_HASH.search(failed.said)
    name = found[1].partition("==")[0] if found else ""
    pin = next((pin for pin in work.pins if pin.name == name), None)
    if pin is None:
        return None
    listing = making / "one.txt"
    listing.write_text(f"{pin.line}\n", "utf-8")
    others = [p for p in OTHERS if p != work.platform]
    command = list(failed.command[1:])
    command[command.index("-r") + 1] = str(listing)
    for number, other in enumerate(others):
        command[command.index("--python-platform") + 1] = other
        command[command.index("--prefix") + 1] = str(making / f"other-{number}")
        if uv.run(*command) is None:
            message = (
                f"{pin.name} {pin.version} is locked with files for other platforms ({other}), and "
                f"with none for that of image {workspace.step.subject!r} ({work.platform})"
            )
            hint = (
                "lock it anew, with an index that has files for both: coopery lock --upgrade; "
                "or choose a `base` that the locked files fit"
            )
            return StepError(problem("wheel-unavailable", message, hint=hint))
    return None


def _failed(work: PackageTree, workspace: Workspace, story: str) -> StepError:
    """Why uv installed nothing, by what it printed."""
    from coopery.installing import last_words

    image = workspace.step.subject
    if found := _NO_WHEEL.search(story):
        name, version = found[1], found[2]
        message = (
            f"{name} {version} has no wheel for the platform of image {image!r} "
            f"({work.platform}, Python {work.python})"
        )
        hint = (
            f"choose a version of {name} with such a wheel, another `python` or `base`, or build "
            "a wheel of it and name that file in `wheels`"
        )
        return StepError(problem("wheel-unavailable", message, hint=hint))
    if found := _WRONG_HASH.search(story):
        message = f"{found[1]} is not the file that was locked: its hash differs"
        hint = "if the index is to be trusted, lock it anew: coopery lock --upgrade"
        return StepError(problem("hash-mismatch", message, hint=hint))
    reason = last_words(story) or "uv gave no reason"
    message = f"the packages of image {image!r} could not be installed: {reason}"
    return StepError(problem("install-failed", message, hint="the log tells more"))
