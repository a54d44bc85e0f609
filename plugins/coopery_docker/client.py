"""The way to the engine: which one, whether it answers, what it can do, and its errors as ours."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

from coopery.errors import CooperyError, MachineError, MachineLost, Problem
from coopery_docker.credentials import check_config
from coopery_docker.targets import LOCAL, VARIABLES, Target, find_target

_PATIENCE = 10.0
"""Seconds in which an engine must say its version."""
_TIMEOUT = 120.0
"""Seconds in which it must answer a plain question; what takes long has no limit."""
FULL = re.compile(
    r"no space left on device|disk quota exceeded|have enough free space", re.IGNORECASE
)
"""How engines, and programs in a build such as apt, say that a disk is full."""

_TLS = re.compile(r"HTTP request to an HTTPS server|SSL|TLS|certificate", re.IGNORECASE)
"""What is said where one speaks TLS and the other does not, or not with these certificates."""


class Engine:
    """An engine that has answered, from several threads at once; `api` is the SDK's client."""

    def __init__(self, api: Any, target: Target, version: dict[str, Any]) -> None:
        self.api = api
        self.target = target
        names = " ".join(str(item.get("Name")) for item in version.get("Components") or ())
        self.is_podman = "podman" in names.lower()
        self.version = str(version.get("Version", ""))
        self.platform = f"{version.get('Os', 'linux')}/{version.get('Arch', '')}"
        major, _, minor = str(api.api_version).partition(".")
        self.has_buildkit = not self.is_podman and (int(major), int(minor or 0)) >= (1, 40)
        """Whether it is to be tried to build with BuildKit, which Podman has nothing of."""
        self._lock = threading.Lock()
        self._info: dict[str, Any] | None = None

    @property
    def info(self) -> dict[str, Any]:
        """What it says of itself; asked once."""
        with self._lock:
            if self._info is None:
                with self.asked("told nothing of itself"):
                    self._info = dict(self.api.info())
            return self._info

    @property
    def is_rootless(self) -> bool:
        """Whether root in its containers is the user that it runs as."""
        return any("rootless" in str(option) for option in self.info.get("SecurityOptions") or ())

    @property
    def is_local(self) -> bool:
        """Whether it shares this machine's files, as far as its address tells."""
        return self.target.address.startswith(("unix://", "http+unix://"))

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Around calls: what the engine or the way to it refuses becomes an error of ours.

        Raises MachineError: `engine-lost` when it does not answer, `disk-full`, and
        `engine-refused` with `what` otherwise.
        """
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except CooperyError:
            raise
        except APIError as error:
            raise refused(what, said(error)) from error
        except (DockerException, RequestException, HTTPError, OSError) as error:
            raise self.lost(error) from error

    def lost(self, error: Exception | None = None) -> MachineError:
        """It has answered before, and does not any more."""
        why = f": {reason(error)}" if error is not None else ""
        message = f"the container engine at {self.target.address} was lost{why}"
        hint = "start it again, then run again: finished work is kept, and leftovers are removed"
        return MachineLost(Problem(slug="engine-lost", message=message, hint=hint))


def refused(what: str, reason: str) -> MachineError:
    """The engine answered, but not what was asked for."""
    if FULL.search(reason):
        hint = "free some space where the engine keeps its images, then run again"
        message = f"the container engine's disk is full: {reason}"
        return MachineError(Problem(slug="disk-full", message=message, hint=hint))
    message = f"the container engine {what}: {reason}"
    return MachineError(Problem(slug="engine-refused", message=message))


def said(error: Any) -> str:
    """What an engine's error says."""
    from coopery.indexes import redact

    return redact(str(getattr(error, "explanation", None) or error).strip())


def reason(error: BaseException) -> str:
    """The innermost cause that says something: what the system refused."""
    seen: BaseException | None = error
    for _ in range(10):
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = seen and (seen.__cause__ or seen.__context__ or _argument(seen))
        if not isinstance(inner, BaseException):
            # A connection that the other side closed is a tuple in the words of its wrappers.
            return str(seen if isinstance(seen, RemoteDisconnected) else error)
        seen = inner
    return str(error)


def _argument(error: BaseException) -> BaseException | None:
    """The error that another was made with, as requests and urllib3 do."""
    given = (*error.args, getattr(error, "reason", None))
    flat = [item for value in given for item in (value if isinstance(value, tuple) else (value,))]
    return next((item for item in flat if isinstance(item, BaseException)), None)


def no_engine(target: Target, why: str) -> MachineError:
    """Nothing answers where an engine should be, or not to this user, or not in this way."""
    from coopery.indexes import redact

    message = f"no container engine answers at {redact(str(target))}: {redact(why)}"
    slug = "no-engine"
    if "ermission denied" in why:
        hint = _permission(target.address.removeprefix("unix://"))
    elif _TLS.search(why):
        slug = "engine-tls"
        hint = "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder of its certificates"
    elif podman := next((path for path in _podman_sockets() if path.exists()), None):
        hint = f"Podman listens at {podman}: set DOCKER_HOST=unix://{podman}, {LOCAL}"
    else:
        start = "systemctl start docker, or systemctl --user start podman.socket"
        hint = f"start it ({start}), say where it is by DOCKER_HOST, {LOCAL}"
    return MachineLost(Problem(slug=slug, message=message, hint=hint))


def _permission(socket: str) -> str:
    """How one gets the right to a socket: by the group that owns it, unless that is root's."""
    import grp

    try:
        number = Path(socket).stat().st_gid
    except OSError:
        return f"ask for the right to its socket, {LOCAL}"
    if number == 0:
        return f"its socket is root's alone: use an engine that runs as you, {LOCAL}"
    try:
        group = grp.getgrgid(number).gr_name
    except KeyError:
        group = str(number)
    joining = f"`sudo usermod -aG {group} $USER`, then log in anew"
    return f"become a member of the group {group}, which owns its socket ({joining}), {LOCAL}"


def _podman_sockets() -> tuple[Path, ...]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    found = (Path(own) / "podman/podman.sock",) if own else ()
    return (*found, Path("/run/podman/podman.sock"))


def connect() -> Engine:
    """The engine, asked for its version once in a process.

    Raises MachineError (`missing-extra`, `no-engine`, and as `find_target`).
    """
    with _connecting:
        return _connect(tuple(os.environ.get(name) for name in VARIABLES))


_connecting = threading.Lock()


@functools.cache
def _connect(environment: tuple[str | None, ...]) -> Engine:
    try:
        from docker.errors import APIError, DockerException
    except ImportError as error:
        message = f"the runtime docker needs the package docker: {error}"
        hint = f"pip install 'coopery[docker]', {LOCAL}"
        raise MachineError(Problem(slug="missing-extra", message=message, hint=hint)) from error
    from requests.exceptions import RequestException

    target = find_target()
    check_config()
    try:
        api = _client(version="auto", timeout=_PATIENCE, **target.options)
        api.timeout = _TIMEOUT
        version = api.version(api_version=False)
    except APIError as error:
        raise no_engine(target, said(error)) from error
    except (DockerException, RequestException, OSError, ValueError) as error:
        raise no_engine(target, reason(error)) from error
    return Engine(api, target, version)


def _client(**options: Any) -> Any:
    """The SDK's client, which takes the engine's own certificates, whatever REQUESTS_CA_BUNDLE
    says for the web.
    """
    import docker

    class Client(docker.APIClient):  # type: ignore[misc]
        def merge_environment_settings(
            self, url: str, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            own = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, own, cert)

    return Client(**options)
