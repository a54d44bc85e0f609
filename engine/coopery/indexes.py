"""The user's index configuration, handed to uv: pip's files and variables, requirements files.

uv reads its own files and netrc by itself; what it does not read is pip's. Indexes that have
credentials are told to uv alone, in lines of requirements that it reads from a pipe (see
`coopery.confiding`): neither its arguments, nor its variables, which build backends and whatever
else it starts inherit, nor anything written has them. So are those that the user's own variables
have: `coopery.inherited` takes these out of what processes inherit.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import threading
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from coopery.confiding import CONFIDED
from coopery.dependencies import IndexOptions
from coopery.errors import MachineError, Place, Problem
from coopery.inherited import BESIDE, TELLING, in_variable, passwords_in, with_login
from coopery.masking import keep_out
from coopery.model import Index, Secret

if TYPE_CHECKING:
    from coopery.secrets import Secrets

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


@dataclass(frozen=True, kw_only=True)
class InstallerSettings:
    """What uv is told of indexes.

    `variables` are added to its environment; `flags` are arguments for `uv pip …`, without
    secrets; `confided` is for it alone, wherever the flags hold `CONFIDED`. `index` is the one that
    it asks first, without credentials, for messages.
    """

    variables: Mapping[str, str]
    flags: tuple[str, ...]
    confided: str = field(repr=False)
    index: str


def installer_environment(
    index: IndexOptions,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: Secrets | None = None,
) -> InstallerSettings:
    """What uv shall be told.

    What a recipe or a requirements file says (`index`) wins over uv's own configuration, and that
    over pip's: where uv is told of any index, pip's indexes are left alone. `root` is the folder
    that uv's project configuration is looked for from. `secrets` reads credentials that are named,
    and fills in a `${NAME}` that is no variable. Raises what that raises, and MachineError:
    `pip-config` for a configuration that cannot be read, `index-credentials` for a `${VARIABLE}`
    that is not set.
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
    told = _Indexes(added, _Fill(environ, secrets), uv)
    told.tell(index, found)
    _connection(added, pip, uv, environ)
    if (index.pre or pip.pre) and not environ.get("UV_PRERELEASE") and "prerelease" not in uv:
        added["UV_PRERELEASE"] = "allow"
    arguments: list[str] = ["--no-index"] if index.no_index or found.no_index else []
    for name in index.no_binary:
        arguments += ["--no-binary", name]
    for name in index.only_binary:
        arguments += ["--only-binary", name]
    if told.lines:
        # Arguments outdo the variable.
        for name in (*environ.get("UV_CONSTRAINT", "").split(), CONFIDED):
            arguments += ["--constraints", name]
    return InstallerSettings(
        variables=added,
        flags=tuple(arguments),
        confided="".join(f"{line}\n" for line in told.lines),
        index=told.first or _first(environ),
    )


def _first(environ: Mapping[str, str]) -> str:
    """The index that uv asks first where it is told by variables."""
    named = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if not named:
        return "the package index"
    name, equals, url = named.partition("=")
    return redact(url if equals and "://" not in name else named)


@dataclass(frozen=True)
class _Fill:
    """What fills in names: variables, and secrets where they can be read."""

    environ: Mapping[str, str] = field(repr=False)
    secrets: Secrets | None


@dataclass
class _Indexes:
    """The indexes and folders of files: in variables, and with credentials in lines to confide."""

    added: dict[str, str]
    fill: _Fill
    files: Mapping[str, Any] = field(repr=False)
    """What uv's own files say."""
    lines: list[str] = field(default_factory=list, repr=False)
    first: str = ""

    def tell(self, index: IndexOptions, pip: PipConfiguration) -> None:
        """Take the indexes of a recipe or requirements file, and pip's beside them."""
        by_url = {item.url.rstrip("/"): item for item in index.named}
        own = next((item.url for item in index.named if not item.extra), None)
        default = own or index.index_url or pip.index_url
        beside = [item.url for item in index.named if item.extra]
        extra = dict.fromkeys((*pip.extra_index_urls, *index.extra_index_urls, *beside))

        def address(url: str) -> tuple[str, str]:
            bare = redact(url).replace("****@", "").rstrip("/")
            return _address(url, self.fill, by_url.get(bare))

        if default and not index.no_index:
            self._default(*address(default))
        if not index.no_index:
            self._users(replaced=bool(default))
        if extra and not index.no_index:
            self._extra([address(url) for url in extra])
        # pip warns of a folder that is not there, where uv gives up.
        links = [link for link in pip.find_links if not _absent(link)]
        self._links([*links, *index.find_links])

    def _users(self, *, replaced: bool) -> None:
        """Those of uv's own variables that have credentials; `replaced` if another default is
        named. Nothing else of what uv makes of them changes.
        """
        environ = self.fill.environ
        name = "UV_DEFAULT_INDEX" if environ.get("UV_DEFAULT_INDEX") else "UV_INDEX_URL"
        own = [] if replaced else [_address(url, self.fill) for url in in_variable(environ, name)]
        for bare, full in own:
            if bare != full:
                self._default(bare, full)
        found = [_address(u, self.fill) for name in BESIDE for u in in_variable(environ, name)]
        if any(bare != full for bare, full in found):
            self.lines += [f"--extra-index-url {full}" for _, full in found]
            self.added.update((name, "") for name in BESIDE if environ.get(name))
        for table in self.files.get("index") or ():
            self._opened(table, replaced=replaced or bool(own))

    def _opened(self, table: Any, *, replaced: bool) -> None:
        """An index of uv's files whose password is a variable: a line more says what opens it."""
        if not isinstance(table, Mapping) or table.get("explicit"):
            return  # requirements are never looked for in an explicit one
        name, url = table.get("name"), table.get("url")
        if not isinstance(name, str) or not isinstance(url, str):
            return
        if replaced and table.get("default"):
            return
        full = with_login(url, name, self.fill.environ)
        if full != url:
            self.lines.append(f"--extra-index-url {_address(full, self.fill)[1]}")

    def _default(self, bare: str, full: str) -> None:
        self.first = bare
        variables = self.fill.environ
        in_files = bool({"index", "index-url"} & self.files.keys())  # a default one perhaps
        if bare == full or in_files:
            self.added["UV_DEFAULT_INDEX"] = f"coopery-default={bare}"
        if bare == full:
            return
        if in_files:
            # A default in a file would outdo a line; so a variable says which it is, and the line,
            # which names it once more, what opens it.
            self.lines.append(f"--extra-index-url {full}")
            return
        self.lines.append(f"--index-url {full}")
        # uv takes no notice of empty ones; others would outdo the line.
        outdone = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
        self.added.update((name, "") for name in outdone if variables.get(name))

    def _extra(self, found: Sequence[tuple[str, str]]) -> None:
        environ = self.fill.environ
        if any(bare != full for bare, full in found):
            self.lines += [f"--extra-index-url {full}" for _, full in found]  # in their order
        else:
            named = [f"coopery-extra-{number}={bare}" for number, (bare, _) in enumerate(found)]
            before = [text] if (text := self.added.get("UV_INDEX", environ.get("UV_INDEX"))) else []
            self.added["UV_INDEX"] = " ".join(before + named)
        if not environ.get("UV_INDEX_STRATEGY"):
            # pip takes the best version over all indexes; uv by default the first index's.
            self.added["UV_INDEX_STRATEGY"] = "unsafe-best-match"

    def _links(self, found: Iterable[str]) -> None:
        environ = self.fill.environ
        users = environ.get("UV_FIND_LINKS", "")
        private = bool(redact(users) != users)
        links = []
        for link in dict.fromkeys([*(users.split(",") if private else ()), *found]):
            bare, full = _address(link, self.fill) if "://" in link else (link, link)
            if bare == full:
                links.append(_link(expand(link, environ, self.fill.secrets)))
            else:
                self.lines.append(f"--find-links {full}")
        if links or private:
            before = [users] if users and not private else []
            self.added["UV_FIND_LINKS"] = ",".join(before + list(dict.fromkeys(links)))


def _address(url: str, fill: _Fill, credentials: Index | None = None) -> tuple[str, str]:
    """A URL without credentials, and with them; the same where it has none."""
    parts = _split(expand(url, fill.environ, fill.secrets))
    if not parts.scheme:
        here = Path(parts.path).expanduser().absolute().as_uri()
        return here, here
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    if credentials is not None and (credentials.username or credentials.password):
        if fill.secrets is None:
            raise _needs_secrets(credentials.url)
        user = fill.secrets.text(credentials.username) or user or "__token__"
        password = fill.secrets.text(credentials.password) or password
    if len(password) >= TELLING:
        keep_out(password)
    # uv cuts variables at white space, and fills in variables in lines.
    bare = urlunsplit(parts._replace(netloc=host)).replace(" ", "%20")
    if not (user or password):
        return bare, bare
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    line = urlunsplit(parts._replace(netloc=f"{login}@{host}", fragment=""))
    return bare, line.replace(" ", "%20").replace("$", "%24")


def _split(url: str) -> SplitResult:
    """The parts of a URL. uv would quote the line of one that is none, with its credentials."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read on demand, and refused then
    except ValueError:
        # A password with a slash in it ends the host early: only what follows it may be told.
        login, _, rest = url.rpartition("@")
        message = f"{'****@' if login else ''}{rest} is no address of an index"
        hint = "check the index configuration; in a URL, passwords are percent-encoded"
        problem = Problem(slug="index-unreachable", message=message, hint=hint)
        raise MachineError(problem) from None
    return parts


def _needs_secrets(url: str) -> MachineError:
    message = f"the index {url} needs secrets, which cannot be read here"
    return MachineError(Problem(slug="index-credentials", message=message))


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


def expand(text: str, environ: Mapping[str, str], secrets: Secrets | None = None) -> str:
    """`text` with `${NAME}` filled in, percent-encoded where it is a URL's user or password.

    What is no variable is a secret. Raises MachineError (`index-credentials`) for what is neither.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = environ.get(name)
        if found is None:
            found = _secret(name, secrets)
        if found is None:
            message = f"{redact(text)} needs the variable {name}, which is not set"
            message += f"; and there is no secret {name}" if secrets else ""
            hint = f"export {name}=… before coopery runs, or keep it as a secret"
            raise MachineError(Problem(slug="index-credentials", message=message, hint=hint))
        before, after = text[: match.start()], text[match.end() :]
        secret = "://" in before and "/" not in before.split("://", 1)[1]
        return quote(found, safe="%") if secret and "@" in after.split("/", 1)[0] else found

    return _VARIABLE.sub(value, text)


def _secret(name: str, secrets: Secrets | None) -> str | None:
    try:
        return secrets.read(Secret(name=name)) if secrets else None
    except MachineError as error:
        if any(found.slug == "secret-missing" for found in error.problems):
            return None
        raise


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
        for password in passwords_in(pip.proxy):
            if len(password) >= TELLING:
                keep_out(password)


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
