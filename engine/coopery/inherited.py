"""Credentials in variables that coopery was started with: of package indexes, and of proxies.

uv is told those of indexes through a pipe (`coopery.indexes`), so that no process inherits the
variables. Those of proxies are handed on, as programs find no other way to the network. Both are
masked in all that is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "PIP_PROXY")
_INDEXES = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_PYPI_URL", "PIP_FIND_LINKS"),
    *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
)
_PASSWORD = re.compile(r"UV_INDEX_[A-Z0-9_]+_PASSWORD")
_LOGIN = re.compile(r"://([^\s/?#]+)@")
BESIDE = ("UV_INDEX", "UV_EXTRA_INDEX_URL")
"""The variables for what uv asks besides its default index, in its order."""
TELLING = 4
"""Passwords in URLs with fewer characters are not masked: they stand in any text."""


def without_logins(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables but for those in which there are credentials of indexes."""
    return {n: value for n, value in environ.items() if not _is_login(n, value, environ)}


def _is_login(name: str, value: str, environ: Mapping[str, str]) -> bool:
    if not name.startswith(("PIP_", "UV_")):
        return False
    if name in _INDEXES:
        return _LOGIN.search(value) is not None
    if name.endswith("_USERNAME"):
        name = name.removesuffix("_USERNAME") + "_PASSWORD"
        # By itself it is what a keyring is asked for, which uv does.
        return bool(_PASSWORD.fullmatch(name) and environ.get(name))
    return bool(_PASSWORD.fullmatch(name) and value)


def keep_out_passwords(environ: Mapping[str, str]) -> None:
    """From now on, these passwords are masked. Without any, nothing is imported."""
    found = [password for password in _passwords(environ) if len(password) >= TELLING]
    if found:
        from coopery.masking import keep_out

        for password in found:
            keep_out(password)


def _passwords(environ: Mapping[str, str]) -> Iterator[str]:
    """As they are written, and without percent-encoding."""
    for name, value in environ.items():
        if name.upper() in _PROXIES or name in _INDEXES:
            yield from passwords_in(value)
        elif _PASSWORD.fullmatch(name):
            yield value


def passwords_in(text: str) -> Iterator[str]:
    """The passwords of the URLs in a text; of a user without one, that may be a token, nothing."""
    for login in _LOGIN.findall(text):
        _, colon, password = login.partition(":")
        if colon:
            from urllib.parse import unquote

            yield password
            yield unquote(password)


def in_variable(environ: Mapping[str, str], variable: str) -> list[str]:
    """The URLs in a variable of uv's, with the credentials that others have for their names."""
    found = []
    for text in environ.get(variable, "").split():
        name, equals, url = text.partition("=")
        named = bool(equals) and "://" not in name
        found.append(with_login(url, name, environ) if named else text)
    return found


def with_login(url: str, name: str, environ: Mapping[str, str]) -> str:
    """The URL of a named index with the credentials that uv takes from variables for it."""
    from urllib.parse import quote

    word = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
    user, password = (environ.get(f"UV_INDEX_{word}_{x}", "") for x in ("USERNAME", "PASSWORD"))
    scheme, sep, rest = url.partition("://")
    if not password or not sep:
        return url
    rest = rest.partition("@")[2] if "@" in rest.partition("/")[0] else rest
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
