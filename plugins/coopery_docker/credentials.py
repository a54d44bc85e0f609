"""Who the user is at a registry, as Docker's own configuration says: `docker login`'s entries,
`credHelpers` and `credsStore`. Nothing of it is kept, or handed to anybody but the engine.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coopery.errors import MachineError, Problem
from coopery.logins import HUB, RegistryLogin
from coopery.secrets import Secrets
from coopery_docker.targets import bad_config, config_file, read_config


@dataclass(frozen=True)
class Login:
    """What the engine is to tell a registry: nothing where nothing is known of it.

    `source` says in words where it is from, for messages; the secrets in `auth` are never shown.
    """

    registry: str
    source: str
    auth: Mapping[str, Any] = field(repr=False)


def check_config() -> None:
    """Raises MachineError (`docker-config`) where the client could not read the configuration."""
    _logins(read_config())


def login_of(repository: str, given: RegistryLogin | None, secrets: Secrets) -> Login:
    """Who one is at the registry of a repository: what the recipe says, else as `login_for`.

    Raises MachineError (`secret-missing`, and as `login_for`).
    """
    if given is None:
        return login_for(repository)
    auth = {"username": secrets.text(given.username), "password": secrets.read(given.password)}
    hub = given.host == HUB
    auth["serveraddress"] = "https://index.docker.io/v1/" if hub else given.host
    return Login(given.host, "`registries` of the recipe, or `config` of the task", auth)


def login_for(repository: str) -> Login:
    """What Docker's configuration holds for the registry of a repository.

    Raises MachineError (`registry-credentials`) where a program that should know does not answer,
    `docker-config`.
    """
    from docker.auth import resolve_repository_name
    from docker.credentials.errors import StoreError
    from docker.errors import DockerException

    registry = str(resolve_repository_name(repository)[0])
    logins = _logins(read_config())
    helper = logins.get_credential_store(registry)
    file = config_file()
    source = f"the helper docker-credential-{helper}" if helper else str(file)
    if helper and shutil.which(f"docker-credential-{helper}") is None:
        raise _silent(source, file, registry, ": it is not in PATH")
    try:
        auth = logins.resolve_authconfig(registry)
    except (DockerException, StoreError, OSError, ValueError, LookupError):
        # Not what it printed: that may be the secret.
        raise _silent(source, file, registry) from None
    return Login(registry, source, auth or {})


def _silent(source: str, file: Path, registry: str, why: str = "") -> MachineError:
    message = f"{source}, which {file} names for {registry}, gives no credentials{why}"
    hint = f"install or mend it, or drop it from {file} and log in with `docker login`"
    return MachineError(Problem(slug="registry-credentials", message=message, hint=hint))


def _logins(config: Mapping[str, Any]) -> Any:
    """The SDK's reading of a configuration, which it takes apart while it reads."""
    from docker.auth import AuthConfig, load_config
    from docker.errors import DockerException
    from docker.utils.proxy import ProxyConfig

    if not config:
        return AuthConfig({})
    try:
        proxies = config.get("proxies", {})
        ProxyConfig.from_dict(proxies.get("default", {}))
        return load_config(config_dict=copy.deepcopy(dict(config)))
    except (DockerException, ValueError, TypeError, AttributeError, LookupError):
        # An error's own words might repeat half of a secret.
        why = "has an entry under `auths` or `proxies` that is none"
        raise bad_config(config_file(), why) from None
