"""A registry's HTTP API: which way to it, who asks, what is retried, and its errors as ours.

See the OCI distribution specification, and Docker's for tokens (registry/auth/token).
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from coopery.errors import MachineError
from coopery.logins import HUB
from coopery.masking import keep_out
from coopery_publish import refusals
from coopery_publish.logins import Login
from coopery_publish.transport import allows_plain, open_url, scheme_of

TRIES = 5
"""How often is asked what may be asked again."""
_SILENT_TRIES = 2
"""How often, where nothing was answered at all: each of these takes `transport.PATIENCE`."""
_DELAYS = (0.2, 0.5, 1.0, 2.0)
_LONGEST = 30.0
"""Seconds that are waited at most where a registry says how long."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be others in a moment."""
_BODY = 1 << 16
"""As much of an error's body is read."""
_WHOLE = 60.0
"""Seconds in which a short answer must have come, however steadily it drips."""
_TOLD = 1.0
"""Seconds: of shorter waits nothing is told."""

Body = bytes | Callable[[], IO[bytes]] | None
"""What is sent: bytes, or what opens them, anew for each try."""


@dataclass
class Response:
    """An answer whose body may still be read: `status`, `headers` by any case, `url`.

    `content` is the body where it was asked for as a whole.
    """

    status: int
    headers: http.client.HTTPMessage
    url: str
    stream: Any
    content: bytes = b""

    def read(self, limit: int) -> bytes:
        """The body, at most `limit` bytes and one more.

        Raises OSError and HTTPException, also where less comes than was announced.
        """
        begun, parts, left = time.monotonic(), [], limit + 1
        while left and (part := self.stream.read1(left)):
            parts.append(part)
            left -= len(part)
            if time.monotonic() - begun > _WHOLE:
                raise TimeoutError(f"its answer is not whole after {_WHOLE:.0f} s")
        content = b"".join(parts)
        announced = self.headers.get("Content-Length") or ""
        if left and announced.isdigit() and len(content) < int(announced):
            raise http.client.IncompleteRead(content, int(announced) - len(content))
        return content

    def read_error(self) -> str:
        """What an answer that is an error says; nothing where that does not come."""
        try:
            return self.read(_BODY).decode("utf-8", "replace")
        except (http.client.HTTPException, OSError):
            return ""  # the status is what matters

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()


@dataclass
class Client:
    """One registry, for one process. `find_login` is asked once, when the registry wants to know;
    `tell` hears of long waits.

    Safe from several threads.
    """

    host: str
    find_login: Callable[[], Login | None]
    tell: Callable[[str], None] = lambda text: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _scheme: str = ""
    _login: tuple[Login | None] | None = None
    _tokens: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        repository: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        size: int = 0,
        push: bool = False,
        good: tuple[int, ...] = (200,),
        also: tuple[int, ...] = (),
        scopes: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> Response:
        """Ask for a path beneath `/v2/`, or a URL the registry gave; answers of `good` or `also`.

        `push` says that one wants to write. With `limit`, so much of the body, and one byte more,
        is the answer's `content`, and was asked for again where it broke off. Raises MachineError
        (`registry-…`) for all else.
        """
        last: Exception | None = None
        for attempt in range(TRIES):
            try:
                found = self._authorized(
                    method, path, repository, headers or {}, body, size, push, scopes
                )
                is_good = found.status in (*good, *also)
                if is_good and limit is not None:
                    with found:
                        found.content = found.read(limit)
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                if refusals.is_final(error):
                    raise refusals.unreachable(self.host, error) from error
                last = error
                silent = refusals.is_silence(error)
                if attempt + 1 == (_SILENT_TRIES if silent else TRIES):
                    break
                self._wait(_DELAYS[attempt], refusals.why(error), silent=silent)
                continue
            if is_good:
                return found
            with found:
                if found.status in _PASSING and attempt + 1 < TRIES:
                    pause = _pause(found.headers.get("Retry-After"), attempt)
                    self._wait(pause, f"it answers {found.status}")
                    continue
                text = found.read_error()
            where = (self.host, repository)
            raise refusals.refused(found.status, text, where, push=push, login=self._known())
        assert last is not None
        raise refusals.unreachable(self.host, last) from last

    def _wait(self, seconds: float, why: str, *, silent: bool = False) -> None:
        if silent or seconds >= _TOLD:
            self.tell(f"again    {self.host} in {seconds:g} s: {why}")
        time.sleep(seconds)

    def url(self, path: str) -> str:
        """A path's URL. The way is looked for once: without TLS only where that is allowed."""
        with self._lock:
            if not self._scheme:
                self._scheme = scheme_of(self._address)
        return f"{self._scheme}://{self._address}{path}"

    @property
    def _address(self) -> str:
        return "registry-1.docker.io" if self.host == HUB else self.host

    def _authorized(
        self,
        method: str,
        path: str,
        repository: str,
        headers: Mapping[str, str],
        body: Body,
        size: int,
        push: bool,
        scopes: tuple[str, ...],
    ) -> Response:
        url = path if "://" in path else self.url(path)
        scope = f"repository:{repository}:{'pull,push' if push else 'pull'}"
        wanted = " ".join((scope, *scopes))
        origin = _origin(self.url("/"))
        ours = _origin(url) == origin
        for _ in range(3):
            known = self._tokens.get(wanted) if ours else None
            sent = {**headers, "Authorization": known} if known else headers
            found = Response(*open_url(method, url, sent, body, size))
            if found.status != 401 or not ours:
                return found
            if known is not None:
                # A token may have run out; what is told of a user by name stays as it is.
                if not known.startswith("Bearer ") or self._tokens.pop(wanted, None) is None:
                    return found
                found.stream.close()
                continue
            challenges = found.headers.get_all("WWW-Authenticate") or []
            answer = self._answer(challenges, wanted)
            if answer is None:
                return found
            found.stream.close()
            self._tokens[wanted] = answer
        return found

    def _known(self) -> Login | None:
        return self._login[0] if self._login else None

    def _who(self) -> Login | None:
        with self._lock:
            if self._login is None:
                self._login = (self.find_login(),)
            return self._login[0]

    def _answer(self, challenges: list[str], scope: str) -> str | None:
        """What to authorize with, as a registry's challenge wants it; None where one cannot."""
        login = self._who()
        for text in challenges:
            kind, _, rest = text.strip().partition(" ")
            if kind.lower() == "basic" and login is not None and login.username:
                return login.basic
            if kind.lower() == "bearer":
                values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
                if realm := values.get("realm"):
                    return f"Bearer {self._token(realm, values.get('service', ''), scope, login)}"
        return None

    def _token(self, realm: str, service: str, scope: str, login: Login | None) -> str:
        """A token from where the registry says they are given."""
        try:
            parts = urllib.parse.urlsplit(realm)
        except ValueError:
            raise refusals.no_token(self.host, realm) from None
        if parts.scheme != "https" and not (parts.scheme == "http" and allows_plain(parts.netloc)):
            raise refusals.unsafe_realm(self.host, realm)
        query: list[tuple[str, str]] = [("service", service)] if service else []
        query += [("scope", each) for each in scope.split(" ")]
        headers: dict[str, str] = {}
        if login is not None and login.token:
            form = {"grant_type": "refresh_token", "refresh_token": login.token}
            form |= {"service": service, "scope": scope, "client_id": "coopery"}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            data = urllib.parse.urlencode(form).encode()
            found = Response(*open_url("POST", realm, headers, data, len(data)))
        else:
            if login is not None:
                headers["Authorization"] = login.basic
            joined = "&" if parts.query else "?"
            url = f"{realm}{joined}{urllib.parse.urlencode(query)}"
            found = Response(*open_url("GET", url, headers, None, 0))
        repository = scope.split(":")[1]
        with found:
            good = found.status == 200
            text = "" if good else found.read_error()
            raw = found.read(_BODY) if good else b""
        if not good:
            where = (self.host, repository)
            raise refusals.refused(found.status, text, where, push="push" in scope, login=login)
        token = _token_in(raw)
        if not token:
            raise refusals.no_token(self.host, realm)
        keep_out(token)
        return token


def _token_in(raw: bytes) -> str:
    try:
        found: Any = json.loads(raw)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    return str(found.get("token") or found.get("access_token") or "")


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _pause(said: str | None, attempt: int) -> float:
    """Seconds to wait before the next try, as the registry says them or longer each time."""
    if said and said.isdigit():
        return min(float(said), _LONGEST)
    return _DELAYS[min(attempt, len(_DELAYS) - 1)]


__all__ = ["Body", "Client", "MachineError", "Response"]
