"""Images as virtual environments: planned from layers, made by uv, kept by key."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from coopery.dependencies import ImagePlan, IndexOptions, Layer, Pin
from coopery.errors import MachineError, Problem, StepError, problem
from coopery.marks import unkeyed
from coopery.model import HOST_PYTHON, Image, Recipe
from coopery.steps import Made, Need, Step, StepSource, Workspace

_UNFIT = re.compile(r"path \((?:[^()]*/)?([^()/]+\.whl)\) dependency is incompatible")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment of one Python with pinned packages and given wheels.

    Made in place: it holds absolute paths and time stamps, so its identity is its key.
    """

    kind: ClassVar[str] = "environment"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = True

    python: str
    platform: str
    package: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, tuple[str, ...]], ...]
    rotated: tuple[tuple[str, str], ...] = ()
    """See `coopery.dependencies.IndexOptions.rotated`."""
    wheels: Annotated[tuple[str, ...], unkeyed] = ()
    """The roles of the needs that hold wheels, in the order to install them."""
    pins: Annotated[tuple[Pin, ...], unkeyed] = ()
    root: Annotated[Path | None, unkeyed] = None
    """The recipe's folder, where a project's own index configuration is looked for."""
    index: Annotated[IndexOptions, unkeyed] = field(default_factory=IndexOptions)


def plan_environment(recipe: Recipe, image: Image, layers: Sequence[Layer]) -> ImagePlan:
    """The environment of an image, and what of its layers each task takes care of."""
    pins = tuple(sorted((p for layer in layers for p in layer.pins), key=lambda p: p.name))
    wheels = [need for layer in layers for need in layer.wheels]
    index = next((x.index for x in layers if x.index != IndexOptions()), IndexOptions())
    work = Environment(
        python=image.python or HOST_PYTHON,
        platform=f"{platform.system().lower()}-{platform.machine()}",
        package=tuple((pin.name, pin.url or pin.version) for pin in pins),
        hashes=tuple((pin.name, tuple(sorted(pin.hashes))) for pin in pins),
        wheels=tuple(need.role for need in wheels),
        rotated=index.rotated if pins else (),
        pins=pins,
        index=index,
        root=recipe.root,
    )
    name = f"environment {image.name}"
    step = Step(
        name=name,
        subject=image.name,
        work=work,
        needs=tuple(wheels),
        outputs=("environment",),
        key_path=("image", image.name),
    )
    env: dict[str, str] = {}
    for layer in layers:
        env.update(layer.env)
    assumed = [p for layer in layers for p in layer.assumed]
    return ImagePlan(
        steps=(step,),
        need=Need(role="image", source=StepSource(step=name, output="environment")),
        files=tuple(item for layer in layers for item in layer.files),
        env=env,
        notes=tuple(f"assumes {package}" for package in assumed),
    )


def make_environment(work: Environment, workspace: Workspace) -> Made:
    """Make the environment with uv: packages by hash, then the wheels without dependencies.

    Raises MachineError (`python-missing`, `home-unusable`, `disk-full`, `index-credentials`) or
    StepError (`install-failed`).
    """
    from coopery.installing import installer, last_words
    from coopery_local.copies import seal
    from coopery_local.processes import has_mounts

    if os.pathsep in str(workspace.folder):
        message = f"no environment can be in {workspace.folder}: its path has a {os.pathsep!r}"
        hint = "programs could not be found there; name another home with --home or COOPERY_HOME"
        raise MachineError(Problem(slug="home-unusable", message=message, hint=hint))
    without: tuple[str, ...] = ()
    if os.environ.get("UV_LINK_MODE") == "symlink":
        without = ("UV_LINK_MODE",)  # the cache behind the links would not be protected
    # Without mounts, what a task could write to must be nobody else's.
    more = {} if has_mounts() else {"UV_LINK_MODE": "copy"}
    uv = installer(
        work.index,
        work.root,
        log=workspace.log,
        folder=workspace.folder,
        cancelled=workspace.cancelled,
        secrets=workspace.secrets,
        without=without,
        more=more,
    )
    python = sys.executable if work.python == HOST_PYTHON else work.python
    venv = ["venv", "--quiet", "--no-project", "--allow-existing", "--python", python]
    if failed := uv.run(*venv, str(workspace.folder)):
        if error := failed.why():
            raise error
        tail = last_words(failed.said) or "uv gave no reason"
        raise MachineError(
            Problem(
                slug="python-missing",
                message=f"no Python {work.python} could be used for the image: {tail}",
                hint=f"install Python {work.python}, or choose another with `python` of the image",
            )
        )
    install = ["pip", "install", "--quiet", "--no-deps", "--compile-bytecode"]
    install += ["--python", str(workspace.folder / "bin" / "python")]
    if work.pins:
        listing = workspace.folder / "coopery-requirements.txt"
        listing.write_text("".join(f"{pin.line}\n" for pin in work.pins), "utf-8")
        hashed = ["--require-hashes"] if all(pin.hashes for pin in work.pins) else []
        if failed := uv.run(*install, *uv.flags, *hashed, "-r", str(listing)):
            raise failed.why() or _install_failed(failed.said)
    wheels = [next(workspace.inputs[role].glob("*.whl")) for role in work.wheels]
    files = [str(wheel) for wheel in wheels]
    if files and (failed := uv.run(*install, "--no-index", "--", *files)):
        raise failed.why() or _install_failed(failed.said)
    if not has_mounts():
        seal(workspace.folder)
    facts = {"python": work.python, "wheels": [wheel.name for wheel in wheels]}
    return Made(outputs={"environment": workspace.folder}, facts=facts)


def _install_failed(said: str) -> StepError:
    from coopery.installing import last_words

    if found := _UNFIT.search(said):
        message = f"{found[1]} does not fit this machine, whose platform local images have"
        hint = "take the wheel that fits, or run with `-r` in a runtime that has the image's base"
        return StepError(problem("wheel-tags", message, hint=hint))
    reason = last_words(said) or "uv gave no reason"
    message = f"the image's packages could not be installed: {reason}"
    return StepError(problem("install-failed", message, hint="the log tells more"))
