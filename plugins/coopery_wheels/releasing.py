"""Release mode: the published wheel of a project's version, fetched by uv outside any build."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from coopery.errors import StepError, problem
from coopery.steps import Workspace
from coopery_wheels import building
from coopery_wheels.archives import header, read_headers
from coopery_wheels.work import WheelRelease

_HINT = 'write mode = "editable" to build it from its source tree instead'


def fetch(work: WheelRelease, workspace: Workspace) -> Path:
    """The wheel of the version, with one of the locked hashes, in the workspace's folder.

    uv has no command that downloads. It is told to install into a folder of links instead: what
    they lead to is the wheel's contents as they were, which is all that a wheel is known by here.
    The user's own configuration says from where, as for all packages. Raises StepError
    (`release-failed`, `cancelled`) and MachineError (`disk-full`, `index-credentials`).
    """
    from coopery.indexes import redact
    from coopery.installing import installer

    # A cache of its own: whoever keeps none, or wants links of another kind, shall have it so.
    dropped = {"UV_NO_CACHE", "UV_LINK_MODE", "UV_REQUIRE_HASHES", "UV_NO_BINARY"}
    said = workspace.folder / "uv.log"
    uv = installer(
        work.origin.index,
        work.origin.recipe,
        log=said,
        folder=workspace.folder,
        cancelled=workspace.cancelled,
        secrets=workspace.secrets,
        without=dropped,
    )
    listing = workspace.folder / "requirements.txt"
    hashes = " ".join(f"--hash={value}" for value in work.hashes[0][1])
    listing.write_text(f"{work.distribution}=={work.release} {hashes}\n", "utf-8")
    target = workspace.folder / "installed"
    command = ["pip", "install", "--no-deps", "--require-hashes", "--no-progress"]
    command += ["--only-binary", work.distribution, "--link-mode", "symlink"]
    command += ["--cache-dir", str(workspace.folder / "cache"), "--target", str(target)]
    command += ["--python", sys.executable, "--python-version", work.python, *uv.flags]
    command += ["--python-platform", work.target] if work.target else []
    command += ["-r", str(listing)]
    try:
        if (failed := uv.run(*command)) is not None:
            if error := failed.why():
                raise error
            story = redact(building.tail(said))
            message = (
                f"the wheel of {work.distribution} {work.release} cannot be had from "
                f"{uv.asks}:\n{story}"
            )
            raise StepError(problem("release-failed", message, hint=_HINT))
    finally:
        # What is kept says nothing that it should not, whatever uv says of URLs.
        with workspace.log.open("a", encoding="utf-8") as log:
            log.write(redact(said.read_text("utf-8", "replace")) if said.exists() else "")
    (found,) = target.glob("*.dist-info/METADATA")
    wheel = _pack(found.resolve().parent, workspace.folder)
    for folder in (target, workspace.folder / "cache"):
        shutil.rmtree(folder)
    return wheel


def _pack(info: Path, folder: Path) -> Path:
    """A wheel file in `folder` of the unpacked wheel that has this .dist-info folder."""
    root = info.parent
    headers = read_headers((info / "WHEEL").read_text("utf-8", "replace"))
    tags = [value.split("-") for name, value in headers if name == "tag"]
    parts = [".".join(dict.fromkeys(tag[place] for tag in tags)) for place in range(3)]
    build = header(headers, "Build")
    stem = "-".join([info.name.removesuffix(".dist-info"), *([build] if build else []), *parts])
    wheel = folder / f"{stem}.whl"
    with zipfile.ZipFile(wheel, "x", strict_timestamps=False) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
    return wheel


__all__ = ["fetch"]
