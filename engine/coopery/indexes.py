"""The user's index configuration, handed to uv: pip's files and variables, requirements files.

uv reads its own configuration and netrc by itself; what it does not read is pip's. Credentials go
into variables of the process only: never into its arguments, never into anything written.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import threading
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from coopery.dependencies import IndexOptions
from coopery.errors import MachineError, Place, Problem

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"<>]*(?:@[^/\s@'\"<>]*)*@")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_UV_INDEX_VARIABLES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)
# There is no UV_NO_INDEX: uv takes no notice of a variable of that name.
_PIP_INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_PYPI_URL", "PIP_FIND_LINKS")
_UV_INDEX_KEYS = ("index", "index-url", "extra-index-url", "find-links", "no-index")


_found: list[str] = []
_finding = threading.Lock()


def uv_binary() -> str:
    """The path of uv's program; for all threads. Raises FileNotFoundError when it is missing.

    The way to it initialises what Python's threads share (`sysconfig`), which two must not do at
    once: so one does it, once.
    """
    with _finding:
        if not _found:
            from uv import find_uv_bin

            _found.append(find_uv_bin())
        return _found[0]


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it replaced by `****`."""
    return _USERINFO.sub("****@", text)


def index_of(variables: Mapping[str, str]) -> str:
    """The index that uv asks first, by its address and without credentials; `variables` are those
    of its process.
    """
    named = variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")
    if not named:
        return "the package index"
    name, equals, url = named.partition("=")
    return redact(url if equals and "://" not in name else named)


def installer_environment(
    index: IndexOptions,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Variables to add to uv's environment, and arguments (without secrets) for `uv pip …`.

    What a requirements file says (`index`) wins over uv's own configuration, and that over
    pip's: where uv is told of any index, pip's indexes are left alone. `root` is the folder that
    uv's project configuration is looked for from. Raises MachineError: `pip-config` for a
    configuration that cannot be read, `index-credentials` for a `${VARIABLE}` that is not set.
    """
    environ = os.environ if environ is None else environ
    pip = read_pip_configuration(environ)
    uv = _uv_configuration(root or Path.cwd(), environ)
    # What uv says is read: its lines must not be broken where a path happens to be long.
    added: dict[str, str] = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_WRAP": "1"}
    own_indexes = any(environ.get(name) for name in _UV_INDEX_VARIABLES) or any(
        uv.get(key) for key in _UV_INDEX_KEYS
    )
    found = PipConfiguration() if own_indexes else pip
    _indexes(added, index, found, environ)
    _connection(added, pip, uv, environ)
    if (index.pre or pip.pre) and not environ.get("UV_PRERELEASE") and "prerelease" not in uv:
        added["UV_PRERELEASE"] = "allow"
    arguments: list[str] = ["--no-index"] if index.no_index or found.no_index else []
    for name in index.no_binary:
        arguments += ["--no-binary", name]
    for name in index.only_binary:
        arguments += ["--only-binary", name]
    return added, tuple(arguments)


def _indexes(
    added: dict[str, str], index: IndexOptions, pip: PipConfiguration, environ: Mapping[str, str]
) -> None:
    """The indexes and folders of files, as named indexes with credentials in variables."""
    default = index.index_url or pip.index_url
    extra = tuple(dict.fromkeys((*pip.extra_index_urls, *index.extra_index_urls)))
    if default and not index.no_index:
        added["UV_DEFAULT_INDEX"] = _named(added, "coopery-default", default, environ)
    if extra and not index.no_index:
        named = [_named(added, f"coopery-extra-{i}", url, environ) for i, url in enumerate(extra)]
        before = [environ["UV_INDEX"]] if environ.get("UV_INDEX") else []
        added["UV_INDEX"] = " ".join(before + named)
        if not environ.get("UV_INDEX_STRATEGY"):
            # pip takes the best version over all indexes; uv by default the first index's.
            added["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    # pip warns of a folder that is not there, where uv gives up.
    folders = [link for link in pip.find_links if not _absent(link)]
    links = [_link(expand(link, environ)) for link in (*folders, *index.find_links)]
    if links:
        before = [environ["UV_FIND_LINKS"]] if environ.get("UV_FIND_LINKS") else []
        added["UV_FIND_LINKS"] = ",".join(before + list(dict.fromkeys(links)))


def _named(added: dict[str, str], name: str, url: str, environ: Mapping[str, str]) -> str:
    """`name=url` without credentials, which go into variables of their own."""
    parts = urlsplit(expand(url, environ))
    userinfo, at, host = parts.netloc.rpartition("@")
    if at:
        user, colon, password = userinfo.partition(":")
        variable = f"UV_INDEX_{name.upper().replace('-', '_')}"
        added[f"{variable}_USERNAME"] = unquote(user)
        if colon:
            added[f"{variable}_PASSWORD"] = unquote(password)
    if not parts.scheme:
        return f"{name}={Path(parts.path).expanduser().absolute().as_uri()}"
    # uv cuts the variable at white space.
    return f"{name}={urlunsplit(parts._replace(netloc=host))}".replace(" ", "%20")


def _absent(link: str) -> bool:
    if "://" in link:
        parts = urlsplit(link)
        return parts.scheme == "file" and not Path(unquote(parts.path)).exists()
    return not Path(link).expanduser().exists()


def _link(link: str) -> str:
    """A folder or page of files; uv cuts the variable at commas, so these are encoded."""
    if "://" in link:
        return link.replace(",", "%2C")
    path = Path(link).expanduser().absolute()
    return f"file://{quote(str(path))}" if "," in str(path) else str(path)


def configured_at(
    url: str, *, root: Path | None = None, environ: Mapping[str, str] | None = None
) -> Place | None:
    """The variable, or the file and its line, that configures an index of this URL's host.

    It is for messages: nothing of the value is told.
    """
    environ = os.environ if environ is None else environ
    host = urlsplit(url).netloc.rpartition("@")[2]
    if not host:
        return None
    spoken = re.compile(rf"(?:://|@){re.escape(host)}(?=[/\s\"'?#]|$)")
    for name, value in environ.items():
        if name in (*_UV_INDEX_VARIABLES, *_PIP_INDEX_VARIABLES) and spoken.search(value):
            return Place(file=f"the variable {name}")
    for file in (*pip_files(environ), *_uv_files(root or Path.cwd(), environ)):
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(lines, 1):
            if not line.lstrip().startswith(("#", ";")) and spoken.search(line):
                return Place(file=str(file), line=number)
    return None


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with `${VARIABLE}` filled in, percent-encoded where it is a URL's user or password.

    Raises MachineError (`index-credentials`) for one that is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = environ.get(match.group(1))
        if found is None:
            message = f"{redact(text)} needs the variable {match.group(1)}, which is not set"
            hint = f"export {match.group(1)}=… before coopery runs"
            raise MachineError(Problem(slug="index-credentials", message=message, hint=hint))
        before, after = text[: match.start()], text[match.end() :]
        secret = "://" in before and "/" not in before.split("://", 1)[1]
        return quote(found, safe="%") if secret and "@" in after.split("/", 1)[0] else found

    return _VARIABLE.sub(value, text)


def _connection(
    added: dict[str, str], pip: PipConfiguration, uv: Mapping[str, Any], environ: Mapping[str, str]
) -> None:
    """Certificates, proxies, time limits: only where neither the environment nor uv says so."""
    wanted = {
        "SSL_CERT_FILE": pip.cert,
        "SSL_CLIENT_CERT": pip.client_cert,
        "UV_HTTP_TIMEOUT": pip.timeout,
        "UV_HTTP_RETRIES": pip.retries,
        "UV_INSECURE_HOST": " ".join(pip.trusted_hosts),
        "UV_KEYRING_PROVIDER": pip.keyring,
    }
    ours = {"UV_INSECURE_HOST": "allow-insecure-host", "UV_KEYRING_PROVIDER": "keyring-provider"}
    for name, value in wanted.items():
        if value and not environ.get(name) and ours.get(name) not in uv:
            added[name] = value
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    if pip.proxy and not any(environ.get(n) or environ.get(n.lower()) for n in proxies):
        added["HTTP_PROXY"] = added["HTTPS_PROXY"] = pip.proxy


@dataclass(frozen=True, kw_only=True, slots=True)
class PipConfiguration:
    """What pip is told by its files and variables, as far as an index concerns it."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    pre: bool = False
    cert: str | None = None
    client_cert: str | None = None
    timeout: str | None = None
    retries: str | None = None
    proxy: str | None = field(default=None, repr=False)
    trusted_hosts: tuple[str, ...] = ()
    keyring: str | None = None


def pip_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files pip reads here, those that win last (pip's documentation, Configuration)."""
    given = environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return ()
    home = Path(environ.get("HOME") or Path.home())
    shared = [p for p in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if p]
    files = [*(Path(p) / "pip/pip.conf" for p in shared), Path("/etc/pip.conf")]
    if not (given and Path(given).exists()):
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip/pip.conf", config / "pip/pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    if given:
        files.append(Path(given))
    return tuple(file for file in files if file.is_file())


def read_pip_configuration(environ: Mapping[str, str]) -> PipConfiguration:
    """pip's index configuration. Raises MachineError (`pip-config`)."""
    values: dict[str, str] = {}
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text("utf-8"))
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            # The parser's own message may quote a line that holds a password.
            line = getattr(error, "lineno", None)
            message = f"pip's configuration cannot be read: {type(error).__name__}"
            place = Place(file=str(file), line=line)
            raise MachineError(Problem(slug="pip-config", message=message, place=place)) from None
        for name, section in sections.items():
            if parser.has_section(name):
                section.update((k.replace("_", "-"), v) for k, v in parser.items(name))
    values = {**sections["global"], **sections["install"]}
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            values[name[4:].lower().replace("_", "-")] = value
    keyring = values.get("keyring-provider")
    return PipConfiguration(
        index_url=values.get("index-url") or values.get("pypi-url"),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        no_index=_true(values, "no-index"),
        pre=_true(values, "pre"),
        cert=values.get("cert"),
        client_cert=values.get("client-cert"),
        timeout=_seconds(values.get("timeout") or values.get("default-timeout")),
        retries=values.get("retries"),
        proxy=values.get("proxy"),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        # uv has no way to import keyring; its command gives the same answers.
        keyring={"import": "subprocess", "subprocess": "subprocess"}.get(keyring or ""),
    )


def _true(values: Mapping[str, str], name: str) -> bool:
    text = values.get(name, "false").strip().lower()
    if text in ("y", "yes", "t", "true", "on", "1"):
        return True
    if text in ("n", "no", "f", "false", "off", "0"):
        return False
    message = f"pip's {name} is {text!r}: expected true or false"
    raise MachineError(Problem(slug="pip-config", message=message))


def _seconds(text: str | None) -> str | None:
    """uv takes whole seconds."""
    if not text:
        return None
    try:
        return str(max(1, round(float(text))))
    except ValueError:
        message = f"pip's timeout is {text!r}: expected a number of seconds"
        raise MachineError(Problem(slug="pip-config", message=message)) from None


def _uv_configuration(root: Path, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The settings in uv's files that bear on indexes, the user's and the project's together.

    uv itself reads and judges them; a file it cannot read is for it to refuse.
    """
    if environ.get("UV_CONFIG_FILE"):
        return _toml(Path(environ["UV_CONFIG_FILE"]))
    found: dict[str, Any] = {}
    for file in _uv_files(root, environ):
        table = _toml(file)
        found.update(
            table.get("tool", {}).get("uv", {}) if file.name == "pyproject.toml" else table
        )
    return {**found, **found.get("pip", {})}


def _uv_files(root: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that uv reads, those that win last; some may not be there."""
    if environ.get("UV_CONFIG_FILE"):
        return (Path(environ["UV_CONFIG_FILE"]),)
    if environ.get("UV_NO_CONFIG"):
        return ()
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv/uv.toml"
    system = [
        Path(p) / "uv/uv.toml" for p in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    ]
    return (*system, Path("/etc/uv/uv.toml"), user, *_project_files(root))


def _project_files(root: Path) -> Iterable[Path]:
    """uv.toml, or pyproject.toml with a `[tool.uv]` table, at or above `root`."""
    for folder in (root, *root.parents):
        if (folder / "uv.toml").is_file():
            return (folder / "uv.toml",)
        if "uv" in _toml(folder / "pyproject.toml").get("tool", {}):
            return (folder / "pyproject.toml",)
    return ()


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
