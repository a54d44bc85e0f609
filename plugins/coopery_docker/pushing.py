"""An image to a registry, as the engine pushes it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from coopery.errors import MachineError, Problem
from coopery.logins import RegistryLogin
from coopery.masking import keep_out, masked
from coopery.secrets import Secrets
from coopery_docker.client import Engine, connect, said
from coopery_docker.credentials import Login, login_of
from coopery_docker.leaving import unless_interrupted, within_reason
from coopery_docker.looking import read_note

_REFUSED = re.compile(
    r"unauthorized|authentication required|no basic auth|denied|forbidden", re.IGNORECASE
)
_PLAIN = re.compile(r"HTTP response to HTTPS client")


def push(
    folder: Path,
    reference: str,
    given: RegistryLogin | None,
    secrets: Secrets,
    tell: Callable[[str], None],
) -> str:
    """Push the image that the note in `folder` tells of as `reference`; its manifest's digest.

    Its name in the engine goes again. Raises MachineError (`push-failed`, `registry-credentials`).
    """
    from docker.utils import parse_repository_tag

    engine = connect()
    repository, tag = parse_repository_tag(reference)
    login = login_of(repository, given, secrets)
    for name in ("password", "identitytoken", "registrytoken"):
        keep_out(str(login.auth.get(name) or login.auth.get(name.title()) or ""))
    tell(f"push     {reference}")
    image = str(read_note(folder)["tag"])
    with engine.asked("did not push"):
        within_reason(lambda: engine.api.tag(image, repository, tag=tag, force=True), engine)

    def push_it(stop: threading.Event) -> tuple[str | None, str | None]:
        return _push(engine, reference, login, tell, stop)

    digest, failed = unless_interrupted(push_it, engine)
    if failed is None and digest is None:
        failed = "the engine told of no error, and of no digest"
    if failed is not None or digest is None:
        raise _failed(reference, masked(str(failed)), login)
    return digest


def _push(
    engine: Engine,
    reference: str,
    login: Login,
    tell: Callable[[str], None],
    stop: threading.Event,
) -> tuple[str | None, str | None]:
    """The digest of what was pushed, and why it was not; neither once it is to `stop`."""
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(reference)
    digest: str | None = None
    failed: str | None = None
    with engine.asked("did not push"):
        try:
            layers: dict[str, bool] = {}
            for line in engine.api.push(
                repository, tag=tag, stream=True, decode=True, auth_config=dict(login.auth)
            ):
                if stop.is_set():
                    break
                # Not the end: what is still to come is read too.
                failed = line.get("error") or failed
                digest = (line.get("aux") or {}).get("Digest") or digest
                _follow(line, layers, reference, tell)
        except APIError as error:
            failed = said(error)
        finally:
            _forget(engine, reference)
    return digest, failed


def _follow(
    line: dict[str, Any], layers: dict[str, bool], reference: str, tell: Callable[[str], None]
) -> None:
    """Tell of each layer once it is there."""
    layer, status = line.get("id"), str(line.get("status", ""))
    if not layer:
        return
    there = status == "Layer already exists" or status.startswith("Mounted from")
    layers.setdefault(layer, there)
    if status == "Pushed" and not layers[layer]:
        layers[layer] = True
        tell(f"push     {reference}: {sum(layers.values())} of {len(layers)} layers")


def _forget(engine: Engine, reference: str) -> None:
    """The image keeps the name by which coopery finds it; this one is the registry's."""
    from docker.errors import APIError

    with suppress(APIError):  # another push of the same has forgotten it, or it is in use
        engine.api.remove_image(reference, noprune=True)


def _failed(reference: str, why: str, login: Login) -> MachineError:
    from coopery.indexes import redact

    why = redact(why)
    if _REFUSED.search(why):
        if login.auth:
            begin = f"the registry {login.registry} refuses the credentials of {login.source}"
        else:
            begin = f"the registry {login.registry} wants credentials, and {login.source} has none"
        message = f"{begin}: {reference} could not be pushed: {why}"
        hint = f"log in with `docker login {login.registry}`, and check that you may write there"
        return MachineError(Problem(slug="registry-credentials", message=message, hint=hint))
    hint = "check the way to the registry, then run it again: what is there is not sent again"
    if _PLAIN.search(why):
        hint = "the registry has no TLS: the engine must be told that it is an insecure one"
    message = f"{reference} could not be pushed: {why}"
    return MachineError(Problem(slug="push-failed", message=message, hint=hint))
