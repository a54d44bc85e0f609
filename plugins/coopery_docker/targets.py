"""Which engine is meant: its address, who said so, and the files that say how to reach it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coopery.errors import MachineError, Place, Problem

LOCAL = "or use -r local, which needs no engine"
VARIABLES = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH"),
    *("DOCKER_TLS_VERIFY", "DOCKER_TLS", "HOME"),
)
"""What of the environment says which engine is meant."""

_SOCKET = "unix:///var/run/docker.sock"
_ADDRESS = re.compile(r"(unix|tcp|https?|ssh)://(.*)")
_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True)
class Certificates:
    """The files that TLS wants, and whether the engine's own certificate is looked at."""

    folder: Path
    verify: bool


@dataclass(frozen=True)
class Target:
    """Which engine is meant: its address, who said so, and what the client is made with."""

    address: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.address} ({self.source})"


def find_target() -> Target:
    """Which engine is meant, as Docker's own command finds it.

    DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH), else the context DOCKER_CONTEXT, else
    the current one, else the default socket. Raises MachineError (`engine-address`,
    `engine-elsewhere`, `engine-tls`, `docker-config`).
    """
    if host := os.environ.get("DOCKER_HOST"):
        return _checked(host.strip(), "DOCKER_HOST", _asked_by_environment())
    named = os.environ.get("DOCKER_CONTEXT")
    name = named or read_config().get("currentContext") or "default"
    if name == "default":
        return _checked(_SOCKET, "the default", _asked_by_environment())
    said = "DOCKER_CONTEXT" if named else str(config_file())
    return _of_context(str(name), said)


def config_file() -> Path:
    """Docker's configuration of this user; it need not be there."""
    own = os.environ.get("DOCKER_CONFIG")
    return (Path(own) if own else Path("~/.docker").expanduser()) / "config.json"


def read_config() -> Mapping[str, Any]:
    """What Docker's configuration says; nothing where there is none.

    Raises MachineError (`docker-config`).
    """
    file = config_file()
    try:
        found = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise bad_config(file, f"cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise bad_config(file, f"is no JSON: {error.msg}", error.lineno) from error
    except ValueError as error:
        raise bad_config(file, f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise bad_config(file, "holds no table of settings")
    return found


def bad_config(file: Path, why: str, line: int | None = None) -> MachineError:
    """Docker's configuration does not say what it should."""
    message = f"Docker's configuration {why}"
    hint = "mend it, or name another folder by DOCKER_CONFIG"
    place = Place(file=str(file), line=line)
    return MachineError(Problem(slug="docker-config", message=message, place=place, hint=hint))


def _asked_by_environment() -> Certificates | None:
    """TLS as the variables want it: any DOCKER_TLS_VERIFY but an empty one asks for it."""
    folder = os.environ.get("DOCKER_CERT_PATH")
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not (verify or os.environ.get("DOCKER_TLS") or folder):
        return None
    return Certificates(Path(folder) if folder else config_file().parent, verify)


def _of_context(name: str, said: str) -> Target:
    """The engine of a context, which is a folder beside Docker's configuration."""
    top = config_file().parent / "contexts"
    ident = hashlib.sha256(name.encode()).hexdigest()
    file = top / "meta" / ident / "meta.json"
    try:
        endpoint = json.loads(file.read_text("utf-8"))["Endpoints"]["docker"]
        host, skips = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"there is no Docker context {name!r}, which {said} names"
        raise _bad_address(message, "`docker context ls` lists those that there are") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise bad_config(file, f"of the context {name!r} says no engine: {error!r}") from error
    folder = top / "tls" / ident / "docker"
    certificates = Certificates(folder, not skips) if folder.is_dir() else None
    return _checked(str(host), f"the context {name!r}", certificates)


def _checked(address: str, source: str, certificates: Certificates | None) -> Target:
    """A target whose address is one, with the client's options."""
    from coopery.indexes import redact

    found = _ADDRESS.fullmatch(address)
    shown = redact(address)
    rest = found[2] if found else ""
    if found is not None and found[1] == "ssh":
        raise _elsewhere(shown, source)
    if found is None or (not rest and found[1] != "unix"):
        raise _bad_address(f"{source} names no engine: {shown!r}")
    if found[1] == "unix":
        return Target(address, source, {"base_url": address})
    if "@" in rest or not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:/\[\]]+):\d+(/.*)?", rest):
        raise _bad_address(f"{source} names no engine: {shown!r} is not tcp://HOST:PORT")
    options: dict[str, Any] = {"base_url": address}
    if certificates is not None:
        options["tls"] = _tls(certificates, source)
    return Target(address, source, options)


def _tls(certificates: Certificates, source: str) -> Any:
    from docker.tls import TLSConfig

    files = [certificates.folder / name for name in _CERTIFICATES]
    missing = next((file for file in files if not os.access(file, os.R_OK)), None)
    if missing is not None:
        message = f"the engine of {source} is to be reached by TLS, and {missing} cannot be read"
        hint = "name the folder of ca.pem, cert.pem and key.pem by DOCKER_CERT_PATH"
        raise MachineError(Problem(slug="engine-tls", message=message, hint=hint))
    ca, cert, key = map(str, files)
    return TLSConfig(client_cert=(cert, key), ca_cert=ca, verify=certificates.verify)


def _bad_address(message: str, hint: str | None = None) -> MachineError:
    hint = hint or f"such as {_SOCKET}, or tcp://127.0.0.1:2375"
    return MachineError(Problem(slug="engine-address", message=message, hint=f"{hint}; {LOCAL}"))


def _elsewhere(shown: str, source: str) -> MachineError:
    """By ssh one reaches an engine of another machine, and tasks' files are mounts of this one."""
    message = (
        f"the engine at {shown} ({source}) is on another machine: its containers do not see the "
        "files of this one"
    )
    hint = (
        "run coopery there, or use an engine of this machine; one that sees the same files under "
        "the same paths can be reached by a forwarded socket (ssh -L), with DOCKER_HOST=unix://…"
    )
    return MachineError(Problem(slug="engine-elsewhere", message=message, hint=hint))
