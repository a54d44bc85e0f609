"""References to what a registry holds: `HOST/REPOSITORY`, with `:TAG`, `@DIGEST` or neither."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from coopery.logins import HUB

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(
    rf"(?:({_HOST})/)?({_COMPONENT}(?:/{_COMPONENT})*)(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII
)
_LONGEST = 255


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A repository of a registry, and what of it is meant."""

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """`HOST/REPOSITORY`, as people and engines write it."""
        return f"{self.host}/{self.repository}"

    def at(self, digest: str) -> str:
        """What of it has a digest."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{f'@{self.digest}' if self.digest else ''}"


def parse(text: str) -> Reference:
    """A reference. Raises ValueError, saying what is wrong."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        name = text.partition("@")[0]
        if re.search(r"[A-Z]", name.partition("/")[2].rpartition(":")[0] or name.partition("/")[2]):
            raise ValueError("repositories are named in small letters")
        raise ValueError("expected HOST/NAME[:TAG][@sha256:DIGEST]")
    host, repository, tag, digest = found.groups()
    if host is not None and not ("." in host or ":" in host or host == "localhost"):
        host, repository = None, f"{host}/{repository}"
    if len(repository) > _LONGEST:
        raise ValueError(f"the repository's name has more than {_LONGEST} characters")
    if host in (None, "index.docker.io", "registry-1.docker.io"):
        host = HUB
    if host == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(host=host, repository=repository, tag=tag, digest=digest)


def is_tag(text: str) -> bool:
    """Whether this may be a tag."""
    return re.fullmatch(_TAG, text, re.ASCII) is not None


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine by its very name."""
    name = (host.rpartition(":")[0] if re.search(r":\d+$", host) else host).strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
