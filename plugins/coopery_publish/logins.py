"""Who one is at a registry: what the recipe says, else Docker's configuration and its helpers.

Nothing of it is kept longer than the process lives, handed to a program by its arguments, or
shown: what is read is masked from then on.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coopery.errors import MachineError, Place, Problem
from coopery.logins import HUB, RegistryLogin
from coopery.masking import keep_out
from coopery.secrets import Secrets, known_to_children

_HUB_KEY = "https://index.docker.io/v1/"
"""How Docker's configuration calls its own hub."""
_PATIENCE = 60.0
"""Seconds in which a credential helper must answer."""


@dataclass(frozen=True)
class Login:
    """A name and a password, or an identity `token`; `source` says where they are from."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The header `Authorization` for it."""
        text = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        keep_out(text)
        return f"Basic {text}"


def find_login(host: str, given: RegistryLogin | None, secrets: Secrets) -> Login | None:
    """Who one is at a host; None where nothing is known.

    Raises MachineError (`secret-missing`, `docker-config`, `registry-credentials`).
    """
    if given is not None:
        username = secrets.text(given.username) or ""
        return Login(
            "`registries` of the recipe, or `config` of the task",
            username,
            secrets.read(given.password),
        )
    file = config_file()
    config = _read(file)
    key = _HUB_KEY if host == HUB else host
    helpers = config.get("credHelpers")
    helper = helpers.get(key) or helpers.get(host) if isinstance(helpers, Mapping) else None
    helper = helper or config.get("credsStore")
    if isinstance(helper, str) and helper:
        return _asked(helper, key, file)
    entries = config.get("auths")
    entries = entries if isinstance(entries, Mapping) else {}
    entry = next((entries[n] for n in (key, host, f"https://{host}") if n in entries), None)
    return _of_entry(entry, host, file) if isinstance(entry, Mapping) else None


def config_file() -> Path:
    """Docker's configuration of this user; it need not be there."""
    own = os.environ.get("DOCKER_CONFIG")
    return (Path(own) if own else Path("~/.docker").expanduser()) / "config.json"


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _bad(file, f"cannot be read: {error.strerror}") from error
    except ValueError:
        # Not its own words: they may repeat a part of what stands there.
        raise _bad(file, "is no JSON") from None
    if not isinstance(found, dict):
        raise _bad(file, "holds no table of settings")
    return found


def _bad(file: Path, why: str) -> MachineError:
    message = f"Docker's configuration {why}"
    hint = "mend it, or name another folder by DOCKER_CONFIG"
    place = Place(file=str(file))
    return MachineError(Problem(slug="docker-config", message=message, place=place, hint=hint))


def _of_entry(entry: Mapping[str, Any], host: str, file: Path) -> Login | None:
    token = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        try:
            text = base64.b64decode(str(encoded), validate=True).decode()
        except ValueError:
            raise _bad(file, f"has an entry for {host} under `auths` that is none") from None
        username, _, password = text.partition(":")
        password = password.rstrip("\0")
        keep_out(str(encoded))
    keep_out(password)
    keep_out(token)
    known = token or (username and password)
    return Login(str(file), username, password, token) if known else None


def _asked(helper: str, key: str, file: Path) -> Login | None:
    """What a credential helper answers: it gets the registry's name by its stdin."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            env=known_to_children(os.environ),
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        raise _mute(program, key, file, "it is not in PATH") from None
    except subprocess.TimeoutExpired:
        raise _mute(program, key, file, f"it does not answer within {_PATIENCE:.0f} s") from None
    except OSError as error:
        raise _mute(program, key, file, str(error.strerror)) from None
    if done.returncode:
        if b"credentials not found" in done.stdout + done.stderr:
            return None
        # Not what it printed: that may be the secret.
        raise _mute(program, key, file, f"it ends with {done.returncode}")
    try:
        found = json.loads(done.stdout)
        username, password = str(found["Username"]), str(found["Secret"])
    except (ValueError, LookupError, TypeError):
        raise _mute(program, key, file, "what it prints is no answer") from None
    keep_out(password)
    source = f"the helper {program}"
    if username == "<token>":
        return Login(source, token=password)
    return Login(source, username, password)


def _mute(program: str, key: str, file: Path, why: str) -> MachineError:
    message = f"{program}, which {file} names for {key}, gives no credentials: {why}"
    hint = f"install or mend it, or drop it from {file} and log in with `docker login`"
    return MachineError(Problem(slug="registry-credentials", message=message, hint=hint))
