"""What a registry, or the way to it, refuses: each with its host, its repository and a mend."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

from coopery.errors import MachineError, Problem
from coopery.indexes import redact
from coopery.masking import masked
from coopery_publish.logins import Login

_LONGEST = 500
"""Characters of what a registry says."""


def refused(
    status: int, body: str, where: tuple[str, str], *, push: bool, login: Login | None
) -> MachineError:
    """The registry answered, but not what was asked for."""
    host, repository = where
    what = "written to" if push else "read"
    said = _said(body)
    told = f": {said}" if said else ""
    match status:
        case 401:
            if login is None:
                message = (
                    f"the registry {host} wants credentials for {repository}, and none are known"
                )
            else:
                message = f"the registry {host} refuses the credentials of {login.source}"
                message += f" for {repository}"
            slug = "registry-credentials"
            hint = f"log in with `docker login {host}`, or name them in the recipe's `registries`"
        case 403:
            who = f" by the user of {login.source}" if login else " by everybody"
            message = f"{repository} of the registry {host} may not be {what}{who}"
            slug, hint = "registry-forbidden", "ask for the right, or name a repository of yours"
        case 404:
            message = f"the registry {host} has no such thing in {repository}"
            slug, hint = "registry-missing", "check the name, the tag or digest, and who you are"
            if push:
                hint = "check the name; some registries want a repository to be made beforehand"
        case _:
            message = f"the registry {host} answers {status} for {repository}"
            slug, hint = "registry-refused", "try it again; what was sent is not sent again"
    return MachineError(Problem(slug=slug, message=masked(f"{message}{told}"), hint=hint))


def _said(body: str) -> str:
    """What the `errors` of a registry's answer say, in a line."""
    try:
        found: Any = json.loads(body)
        errors = found["errors"]
        lines = [
            " ".join(filter(None, (str(e.get("code") or ""), str(e.get("message") or ""))))
            for e in errors
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    text = "; ".join(line for line in lines if line)
    return " ".join(redact(text).split())[:_LONGEST]


def is_final(error: Exception) -> bool:
    """Whether to ask again would come to the same."""
    reason = getattr(error, "reason", error)
    return isinstance(reason, ssl.SSLCertVerificationError | socket.gaierror | str)


def is_silence(error: Exception) -> bool:
    """Whether nothing came for as long as one waits."""
    return isinstance(getattr(error, "reason", error), TimeoutError)


def why(error: Exception) -> str:
    """Why a registry cannot be asked, in a line."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, http.client.IncompleteRead):
        return "its answer broke off"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    if isinstance(reason, TimeoutError) and "timed out" in text:
        return "it does not answer"
    return " ".join(masked(redact(str(text))).split())[:_LONGEST]


def unreachable(host: str, error: Exception) -> MachineError:
    """The registry cannot be asked."""
    reason = getattr(error, "reason", None) or error
    text = why(error)
    hint = "check its name and the way to it, then run it again"
    if isinstance(reason, ssl.SSLCertVerificationError):
        text = f"its certificate is not trusted: {reason.verify_message}"
        hint = f"put its CA into /etc/docker/certs.d/{host}/ca.crt, or name it by SSL_CERT_FILE"
    elif isinstance(reason, ssl.SSLError):
        hint = "it may have no TLS, which is allowed on this machine alone, or where Docker's "
        hint += "daemon.json names it under `insecure-registries`"
    message = f"the registry {host} cannot be reached: {text}"
    return MachineError(Problem(slug="registry-unreachable", message=message, hint=hint))


def unsafe_realm(host: str, realm: str) -> MachineError:
    """Credentials are told nobody in the clear."""
    message = f"the registry {host} wants credentials to be told to {redact(realm)}, without TLS"
    hint = "that is a fault of the registry: its realm must begin with https://"
    return MachineError(Problem(slug="registry-refused", message=message, hint=hint))


def no_token(host: str, realm: str) -> MachineError:
    """It should have given one."""
    message = f"{redact(realm)}, which the registry {host} names, gives no token"
    hint = "try it again; it may be out of order"
    return MachineError(Problem(slug="registry-refused", message=message, hint=hint))


def broken(host: str, what: str) -> MachineError:
    """The registry's answer is not what it should be."""
    message = f"the registry {host} {what}"
    hint = "try it again; where it stays so, the registry is at fault"
    return MachineError(Problem(slug="registry-refused", message=message, hint=hint))
