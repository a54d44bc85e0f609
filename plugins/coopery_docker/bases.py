"""Base images: had or pulled, and what is in them, as a container of theirs tells."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from coopery.errors import MachineError, Problem, StepError
from coopery.images import Base
from coopery_docker.client import Engine, connect, said
from coopery_docker.containers import Job, run_container
from coopery_docker.images import find

_PYTHON = """
import json, os, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except (ValueError, OSError):
    libc = ""
found = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "executable": found, "libc": libc}))
"""
_SHELL = """
for name in python3 python; do
    if path=$(command -v "$name"); then "$path" -I -c "$1" && break; fi
done
echo libc; getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1
true
"""
_PATIENCE = 120.0
"""Seconds in which a base image must tell what is in it."""
Tell = Callable[[str], None]


def inspect_base(reference: str, home: Path, tell: Tell) -> Base:
    """What a base image is; pulled where the engine lacks it.

    Raises MachineError (`no-engine`, `base-missing`, `base-unusable`).
    """
    engine = connect()
    image = find(engine, reference)
    if image is None:
        pull(engine, reference, tell)
        image = find(engine, reference)
    if image is None:
        raise _missing(reference, "the engine says that it pulled it, and has it not")
    variant = f"/{image['Variant']}" if image.get("Variant") else ""
    inside = _look_inside(engine, home, str(image["Id"]), reference)
    return Base(
        reference=reference,
        id=str(image["Id"]),
        platform=f"{image.get('Os', 'linux')}/{image.get('Architecture', '')}{variant}",
        digest=_digest(reference, image.get("RepoDigests") or ()),
        python=inside.get("python"),
        executable=inside.get("executable"),
        libc=inside.get("libc") or "",
    )


def _digest(reference: str, known: Iterable[str]) -> str | None:
    """The digest under which the repository of a reference has it."""
    from docker.utils import parse_repository_tag

    repository = parse_repository_tag(reference)[0]
    for item in known:
        name, _, digest = item.partition("@")
        if _full(name) == _full(repository):
            return digest
    return None


def _full(repository: str) -> str:
    """A repository's whole name: `python` is `docker.io/library/python`."""
    first, slash, _ = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return repository
    return f"docker.io/{repository}" if slash else f"docker.io/library/{repository}"


def pull(engine: Engine, reference: str, tell: Tell) -> None:
    """Pull an image, with whatever credentials the user's own Docker configuration has.

    Raises MachineError (`base-missing`).
    """
    from docker.errors import APIError, DockerException
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(reference)
    tell(f"pull     {reference}")
    failed: str | None = None
    layers: dict[str, bool] = {}
    with engine.asked("did not pull"):
        try:
            for line in engine.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                failed = line.get("error") or failed
                _follow(line, layers, reference, tell)
        except APIError as error:
            failed = said(error)
        except DockerException as error:  # of the user's own program that holds credentials
            failed = str(error)
    if failed is not None:
        raise _missing(reference, failed)


def _follow(line: dict[str, Any], layers: dict[str, bool], reference: str, tell: Tell) -> None:
    """Tell of each layer once it is there."""
    layer, status = line.get("id"), str(line.get("status", ""))
    if not layer:
        return
    if status in ("Pulling fs layer", "Waiting", "Already exists"):
        layers.setdefault(layer, status == "Already exists")
    elif status == "Pull complete" and not layers.get(layer):
        layers[layer] = True
        tell(f"pull     {reference}: {sum(layers.values())} of {len(layers)} layers")


def _missing(reference: str, why: str) -> MachineError:
    from coopery.indexes import redact

    if re.search(r"denied|unauthorized|authentication|credential", why, re.IGNORECASE):
        hint = "check its name; where it is private, log in with `docker login`"
    elif re.search(r"not found|unknown|invalid reference", why, re.IGNORECASE):
        hint = "check its name and tag"
    else:
        hint = "check the way to its registry, or load it into the engine by hand"
    message = f"the base image {reference} is not here and could not be pulled: {redact(why)}"
    return MachineError(Problem(slug="base-missing", message=message, hint=hint))


def _look_inside(engine: Engine, home: Path, ident: str, reference: str) -> dict[str, str]:
    """Its Python and C library. There may be no Python, and no shell either."""
    for command in (["/bin/sh", "-c", _SHELL, "sh", _PYTHON], ["python3", "-I", "-c", _PYTHON]):
        code, output = _run(engine, home, ident, command, reference)
        if code == 0:
            return _understand(output)
        if code not in (126, 127):
            break
    else:
        return {}
    message = f"the base image {reference} could not be looked into: {output.strip()[-300:]}"
    hint = f"is it for the platform of the engine ({engine.platform})?"
    raise MachineError(Problem(slug="base-unusable", message=message, hint=hint))


def _run(
    engine: Engine, home: Path, ident: str, command: list[str], reference: str
) -> tuple[int, str]:
    body = {
        "Image": ident,
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "User": "0:0",
        "WorkingDir": "/",
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Init": True,
            "NetworkMode": "none",
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["ALL"],
            "LogConfig": {"Type": "none"},
        },
    }
    printed = bytearray()
    job = Job(
        home=home,
        run=f"base-{secrets.token_hex(4)}",
        name="base",
        body=body,
        write=printed.extend,
        timeout=_PATIENCE,
    )
    try:
        ended = run_container(engine, job)
    except StepError as error:
        found = error.problems[0]
        if found.slug == "command-not-found":
            return 127, found.message
        raise MachineError(
            Problem(slug="base-unusable", message=f"{reference}: {found.message}")
        ) from error
    text = printed.decode("utf-8", "replace")
    return (1 if "xec format error" in text else ended.exit_code), text


def _understand(output: str) -> dict[str, str]:
    found: dict[str, str] = {}
    libc: list[str] = []
    for line in output.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            if str(told["python"]).startswith("3."):
                found = told
        elif line == "libc" or libc:
            libc.append(line)
    if not found.get("libc"):
        text = " ".join(libc)
        if glibc := re.search(r"(?:glibc|GLIBC|GNU libc)\D+(\d+\.\d+)", text):
            found["libc"] = f"glibc {glibc[1]}"
        elif musl := re.search(r"musl.*?Version (\d+\.\d+)", text):
            found["libc"] = f"musl {musl[1]}"
    return found
