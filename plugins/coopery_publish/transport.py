"""Single HTTP requests: TLS or, on this machine alone, none; redirects without credentials."""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from coopery import __version__
from coopery_publish.references import is_loopback

PATIENCE = 20.0
"""Seconds without a word after which a registry counts as one that does not answer."""
_LONG = 120.0
"""The same while it takes something in: some look through what was sent before they answer."""
_GREETING = 5.0
"""Seconds in which a registry on this machine must have greeted back, if it speaks TLS."""
_REDIRECTS = 5
_CERTIFICATES = Path("/etc/docker/certs.d")
_DAEMON = Path("/etc/docker/daemon.json")
"""Where Docker's engine is told of registries without TLS, and of those with their own CA."""

Answer = tuple[int, http.client.HTTPMessage, str, IO[bytes]]


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Every answer is one: no status is an exception, and no redirect is followed unasked."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


def open_url(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Callable[[], IO[bytes]] | None,
    size: int,
) -> Answer:
    """Ask once. Redirects of reads are followed, and get no credentials elsewhere.

    Raises URLError, HTTPException, OSError, also for addresses that are none.
    """
    try:
        return _open(method, url, headers, body, size)
    except ValueError as error:  # UnicodeError too, of names that are none
        raise urllib.error.URLError(f"its address is none: {error}") from None


def _open(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Callable[[], IO[bytes]] | None,
    size: int,
) -> Answer:
    begun = urllib.parse.urlsplit(url)
    for _ in range(_REDIRECTS + 1):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise urllib.error.URLError(f"redirected to {parts.scheme}://…")
        if parts.scheme == "http" and not allows_plain(parts.netloc):
            raise urllib.error.URLError(f"redirected to {parts.netloc} without TLS")
        sent = {"User-Agent": f"coopery/{__version__}", **headers}
        if (parts.scheme, parts.netloc) != (begun.scheme, begun.netloc):
            sent.pop("Authorization", None)
        data: Any = body() if callable(body) else body
        try:
            if body is not None:
                sent["Content-Length"] = str(size)
                sent.setdefault("Content-Type", "application/octet-stream")
            request = urllib.request.Request(url, data=data, method=method)
            for name, value in sent.items():
                request.add_unredirected_header(name, value)
            opener = _opener(parts.netloc, is_loopback(parts.netloc))
            patience = PATIENCE if method in ("GET", "HEAD") else _LONG
            response = opener.open(request, timeout=patience)
        finally:
            if callable(body):
                data.close()
        place = response.headers.get("Location")
        moved = response.status in (301, 302, 303, 307, 308)
        if not (moved and place and method in ("GET", "HEAD")):
            return response.status, response.headers, url, response
        response.close()
        url = urllib.parse.urljoin(url, place)
    raise urllib.error.URLError("redirected without end")


def allows_plain(netloc: str) -> bool:
    """Whether one may talk to a host without TLS: this machine, or what Docker was told of."""
    return is_loopback(netloc) or netloc in _insecure()


@functools.cache
def _insecure() -> frozenset[str]:
    """The hosts that Docker's engine is configured to reach without TLS."""
    try:
        found = json.loads(_DAEMON.read_text("utf-8"))
    except (OSError, ValueError):
        return frozenset()  # that is the engine's business, and said by it
    named = found.get("insecure-registries") if isinstance(found, dict) else None
    return frozenset(str(host) for host in named or ())


def scheme_of(netloc: str) -> str:
    """`https`, save for hosts that have no TLS and need none. Nothing is sent to find out."""
    if not allows_plain(netloc):
        return "https"
    name, _, port = netloc.rpartition(":") if ":" in netloc else (netloc, "", "443")
    try:
        with socket.create_connection((name.strip("[]"), int(port)), _GREETING) as connection:
            context = ssl._create_unverified_context()
            with context.wrap_socket(connection, server_hostname=name.strip("[]")):
                return "https"
    except (ssl.SSLError, ConnectionResetError, TimeoutError):
        return "http"
    except OSError:
        return "https" if ":" not in netloc else "http"  # what asks next says what is wrong


@functools.cache
def _opener(netloc: str, here: bool) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=_context(netloc)),
        _AsItIs(),
    ]
    if here:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _context(netloc: str) -> ssl.SSLContext:
    """The machine's certificates, with those that Docker's engine takes for this registry."""
    context = ssl.create_default_context()
    if netloc in _insecure():
        # As Docker's engine does: whoever wrote that down has said that it need not be verified.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle and Path(bundle).is_file():
        context.load_verify_locations(bundle)
    folder = _CERTIFICATES / netloc
    if folder.is_dir():
        for file in sorted(folder.glob("*.crt")):
            context.load_verify_locations(file)
        for file in sorted(folder.glob("*.cert")):
            context.load_cert_chain(file, file.with_suffix(".key"))
    return context
