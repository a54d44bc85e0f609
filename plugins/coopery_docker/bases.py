"""Base images: had or pulled, and what is in them, as a container of theirs tells."""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coopery.errors import BaseError, MachineError, Problem, StepError
from coopery.images import Base
from coopery.logins import RegistryLogin
from coopery.secrets import Secrets, no_secrets
from coopery.staging import was_cancelled
from coopery.writing import write_atomically
from coopery_docker.client import Engine, connect, said
from coopery_docker.containers import Job, run_container
from coopery_docker.credentials import Login, login_of
from coopery_docker.images import find
from coopery_docker.leaving import unless_cancelled, within_reason

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
_TOLD = {"python": r"3\.[0-9]+\.[0-9]+", "executable": r"/[ -~]*", "libc": r"[\w .+-]*"}
"""What is told of an image, as regular expressions."""
_NOTES = "bases"
"""The folder of the home in which it is noted what is in images, by their ids."""
_PATIENCE = 120.0
"""Seconds in which a base image must tell what is in it."""
Tell = Callable[[str], None]


def inspect_base(
    reference: str,
    home: Path,
    tell: Tell,
    *,
    renew: bool = False,
    given: RegistryLogin | None = None,
    secrets: Secrets | None = None,
) -> Base:
    """What a base image is; pulled where the engine lacks it.

    To `renew` is to ask its registry also where the engine has one, if it came from there: what is
    called so may be another by now. Raises MachineError (`no-engine`), BaseError (`base-missing`,
    `base-unusable`, `registry-credentials`).
    """
    engine = connect()
    image = within_reason(lambda: find(engine, reference), engine)
    if image is None or (renew and _digest(engine, reference, image)):
        pull(engine, reference, tell, given, secrets)
        image = within_reason(lambda: find(engine, reference), engine)
    if image is None:
        raise _missing(reference, "the engine says that it pulled it, and has it not")
    variant = f"/{image['Variant']}" if image.get("Variant") else ""
    inside = _inside(engine, home, str(image["Id"]), reference)
    return Base(
        reference=reference,
        id=str(image["Id"]),
        platform=f"{image.get('Os', 'linux')}/{image.get('Architecture', '')}{variant}",
        digest=_digest(engine, reference, image),
        python=inside.get("python"),
        executable=inside.get("executable"),
        libc=inside.get("libc") or "",
    )


def _digest(engine: Engine, reference: str, image: Mapping[str, Any]) -> str | None:
    """The digest under which the repository of a reference has an image."""
    from docker.utils import parse_repository_tag

    repository = parse_repository_tag(reference)[0]
    for item in image.get("RepoDigests") or ():
        name, _, digest = item.partition("@")
        if engine.is_podman and name.startswith("localhost/"):
            continue  # so Podman calls what was made or loaded here: there is no such registry
        if _full(name) == _full(repository):
            return str(digest)
    return None


def _full(repository: str) -> str:
    """A repository's whole name: `python` is `docker.io/library/python`."""
    first, slash, _ = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return repository
    return f"docker.io/{repository}" if slash else f"docker.io/library/{repository}"


def pull(
    engine: Engine,
    reference: str,
    tell: Tell,
    given: RegistryLogin | None = None,
    secrets: Secrets | None = None,
    *,
    cancelled: threading.Event | None = None,
) -> None:
    """Pull an image, with what the recipe says under `registries` (`given`), else with whatever
    credentials the user's own Docker configuration has. Once `cancelled`, it is waited for no more.

    Raises BaseError (`base-missing`, `registry-credentials`), StepError (`cancelled`),
    MachineError.
    """
    from docker.utils import parse_repository_tag

    repository = parse_repository_tag(reference)[0]
    tell(f"pull     {reference}")
    try:
        login = login_of(repository, given, secrets or no_secrets())
    except MachineError as error:
        raise BaseError(*error.problems) from error

    def pull_it() -> str | None:
        return _pull(engine, reference, login, tell, cancelled)

    if (failed := unless_cancelled(pull_it, cancelled)) is not None:
        raise _missing(reference, failed, login)


def _pull(
    engine: Engine,
    reference: str,
    login: Login,
    tell: Tell,
    cancelled: threading.Event | None,
) -> str | None:
    """Why an image cannot be pulled, in the words of the engine; None once it is there."""
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(reference)
    failed: str | None = None
    layers: dict[str, bool] = {}
    with engine.asked("did not pull"):
        try:
            # Not None, upon which the client would look for credentials itself.
            known = dict(login.auth)
            for line in engine.api.pull(
                repository, tag=tag or "latest", stream=True, decode=True, auth_config=known
            ):
                if cancelled is not None and cancelled.is_set():
                    raise was_cancelled()  # with the connection the pull ends
                failed = line.get("error") or failed
                _follow(line, layers, reference, tell)
        except APIError as error:
            failed = said(error)
    return failed


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


_REFUSED = re.compile(r"unauthorized|authentication required|no basic auth|denied", re.IGNORECASE)
_UNKNOWN = re.compile(r"not found|unknown|invalid reference|does not exist", re.IGNORECASE)
_PLAIN = re.compile(r"HTTP response to HTTPS client")


def _missing(reference: str, why: str, login: Login | None = None) -> BaseError:
    from coopery.indexes import redact

    # A hub says the same of what is not there and of what is not everybody's.
    refused = _REFUSED.search(why) and not (_UNKNOWN.search(why) and not (login and login.auth))
    if login is not None and refused:
        return _refused(reference, redact(why), login)
    if _UNKNOWN.search(why):
        hint = "check its name and tag; where it is private, log in with `docker login`"
    elif _PLAIN.search(why):
        hint = "its registry has no TLS: the engine must be told that it is an insecure one"
    else:
        hint = "check the way to its registry, or load it into the engine by hand"
    message = f"the base image {reference} is not here and could not be pulled: {redact(why)}"
    return BaseError(Problem(slug="base-missing", message=message, hint=hint))


def _refused(reference: str, why: str, login: Login) -> BaseError:
    """The registry wants to know who asks, or does not take who it is told."""
    if login.auth:
        begin = f"the registry {login.registry} refuses the credentials of {login.source}"
    else:
        begin = f"the registry {login.registry} wants credentials, and {login.source} has none"
    message = f"{begin}: the base image {reference} could not be pulled: {why}"
    hint = f"log in with `docker login {login.registry}`, and check that you may read it"
    return BaseError(Problem(slug="registry-credentials", message=message, hint=hint))


def _inside(engine: Engine, home: Path, ident: str, reference: str) -> dict[str, str]:
    """What is in an image; as that never changes, it is looked into once, and noted in the home."""
    name = ident.rpartition(":")[2]
    note = home / _NOTES / f"{name}.json"
    try:
        found = json.loads(note.read_bytes())
        if isinstance(found, dict) and all(isinstance(text, str) for text in found.values()):
            os.utime(note)  # for who evicts what was not used for long
            return found
    except (OSError, ValueError, RecursionError):
        pass  # it was not looked at yet, or the note is damaged
    found = _look_inside(engine, home, ident, reference)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps(found).encode())
    return found


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
    raise BaseError(Problem(slug="base-unusable", message=message, hint=hint))


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
    stop = threading.Event()  # set when somebody interrupts
    job = Job(
        home=home,
        run=f"base-{secrets.token_hex(4)}",
        name="base",
        body=body,
        write=printed.extend,
        cancelled=stop,
        killed=stop,
        timeout=_PATIENCE,
    )
    try:
        ended = run_container(engine, job)
    except StepError as error:
        found = error.problems[0]
        if found.slug == "command-not-found":
            return 127, found.message
        raise BaseError(
            Problem(slug="base-unusable", message=f"{reference}: {found.message}")
        ) from error
    text = printed.decode("utf-8", "replace")
    return (1 if "xec format error" in text else ended.exit_code), text


def _told(line: str) -> dict[str, str]:
    """What the program says of a Python 3. An image's programs may print anything, and of what
    they say paths are made: what is not as expected is nothing.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    good = all(re.fullmatch(form, str(told.get(name))) for name, form in _TOLD.items())
    return {name: str(told[name]) for name in _TOLD} if good else {}


def _understand(output: str) -> dict[str, str]:
    found: dict[str, str] = {}
    libc: list[str] = []
    for line in output.splitlines():
        if line.startswith("{"):
            told = _told(line)
            if told:
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
