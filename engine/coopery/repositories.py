"""Git repositories as recipes and requirement lines name them, and who may read them.

The line of a git requirement is `NAME[EXTRAS] @ git+URL@REF#subdirectory=PATH`. Its URL never holds
credentials: these stand beside it, as an `Access`. A repository's path may be relative to the
recipe, as in `git+file:../lib`; whoever hands it to git makes it absolute.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from coopery.errors import Place
from coopery.model import Secret

SCHEMES = ("https", "http", "ssh", "file")
"""What coopery fetches over."""
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A whole commit id: SHA-1, or SHA-256."""
_SCP = re.compile(
    r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<path>[^/].*|/.*)"
)
_SHORT = re.compile(r"(?P<host>github):(?P<path>[\w.-]+/[\w.-]+?)(?:\.git)?/?")
_VARIABLES = re.compile(r"(?:\$\{[A-Z0-9_]+\})*")
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|^[-/.]|/$|\.lock$|\.$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How to log in to the repository at `url`, and to others of its host that nobody says more of.

    `username` and `token` are as a recipe has them; `userinfo` is what a requirements file has
    before the `@` of a URL, with `${VARIABLE}`.
    """

    url: str
    username: str | Secret | None = None
    token: Secret | None = None
    userinfo: str | None = None
    place: Place = field(default_factory=Place, compare=False)

    @property
    def host(self) -> str:
        """Scheme and host, with the port, if there is one."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """Where a package is in git: `ref` is a branch, tag or commit, None the remote's HEAD."""

    url: str
    ref: str | None = None
    subdirectory: str | None = None

    @property
    def text(self) -> str:
        """As requirement lines and pins have it: `git+URL@REF#subdirectory=PATH`."""
        ref = f"@{quote(self.ref, safe='/-._~+!$,=')}" if self.ref else ""
        where = f"#subdirectory={quote(self.subdirectory)}" if self.subdirectory else ""
        return f"git+{self.url}{ref}{where}"

    @property
    def name(self) -> str:
        """The last part of its path, which many packages are called after."""
        last = unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2]
        return last.removesuffix(".git")

    @property
    def commit(self) -> str | None:
        """What `ref` says where it is a whole commit id."""
        return self.ref if self.ref and COMMIT.fullmatch(self.ref) else None

    def at(self, commit: str) -> Repository:
        """The same at a commit."""
        return replace(self, ref=commit)

    def absolute(self, root: Path) -> Repository:
        """The same, with a path that is relative to `root` made absolute."""
        path = relative_path(self.url)
        if path is None:
            return self
        return replace(self, url=Path(os.path.normpath(root.absolute() / path)).as_uri())


def relative_path(url: str) -> str | None:
    """The path of a `file:` URL that is relative to the recipe; None for every other URL."""
    if not url.startswith("file:") or url.startswith("file:/"):
        return None
    return unquote(url.removeprefix("file:"))


class BadRepository(ValueError):
    """What names a repository is not understood: a slug, the reason and a hint."""

    def __init__(self, slug: str, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.slug, self.reason, self.hint = slug, reason, hint


def read_url(given: str) -> tuple[str, str | None]:
    """The URL of a repository from what a recipe says, and the credentials in it as text.

    Short forms are made whole: `github:OWNER/NAME`, `user@host:path`, a path. Raises BadRepository.
    """
    text = given.strip().removeprefix("git+")
    if re.search(r"[\x00-\x20\x7f]", text) or not text:
        hint = "write it without white space, which a URL has as %20"
        raise BadRepository("git-url", f"{given!r} names no repository", hint)
    if short := _SHORT.fullmatch(text):
        return f"https://github.com/{short['path']}.git", None
    scheme, colon, rest = text.partition(":")
    if "${" in re.sub(r"://[^/]*@", "", text):
        hint = "write the URL itself; a variable may stand for credentials only"
        raise BadRepository("git-url", "a variable stands in the URL of a repository", hint)
    if "://" not in text and scheme != "file":
        if re.match(r"[./~]", text) or not colon:
            path = Path(text).expanduser()
            quoted = quote(str(path))
            return (path.as_uri() if path.is_absolute() else f"file:{quoted}"), None
        scp = _SCP.fullmatch(text)
        if scp is None or scheme == "github":
            hint = "write https://HOST/PATH, ssh://HOST/PATH, git@HOST:PATH or github:OWNER/NAME"
            raise BadRepository("git-url", f"{given!r} names no repository", hint)
        user = f"{scp['user']}@" if scp["user"] else ""
        return f"ssh://{user}{scp['host']}/{scp['path'].lstrip('/')}", None
    if scheme.lower() not in SCHEMES:
        hint = f"coopery fetches over {', '.join(SCHEMES)}: most servers have https too"
        message = f"{scheme + ':'!r} is no way to a repository that is supported"
        raise BadRepository("git-url", message, hint)
    text = f"{scheme.lower()}:{rest}"
    if scheme.lower() == "file":
        return _file_url(text), None
    return _remote_url(text)


def _file_url(text: str) -> str:
    text = text.replace("file://localhost/", "file:///", 1)
    if text.startswith("file://") and not text.startswith("file:///"):
        host = urlsplit(text).netloc
        hint = "write file:///PATH, or file:PATH for one relative to the recipe"
        raise BadRepository("git-url", f"a file: URL has no host, here {host!r}", hint)
    return re.sub(r"^file:/(?!//)/*", "file:///", text).replace("@", "%40")


def _remote_url(text: str) -> tuple[str, str | None]:
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    if scheme == "ssh" and (odd := re.fullmatch(r"(\[[^]]*\]|[^:]+):([^\d].*)", host)):
        # As `git clone` has it without a scheme; pip's documentation says to write a slash.
        host, path, slash = odd[1], f"{odd[2]}{slash}{path}", "/"
    if not host or not path.strip("/"):
        hint = "write https://HOST/PATH"
        raise BadRepository("git-url", "the URL names no repository of a host", hint)
    if "?" in path:
        hint = "write the URL without what follows the ?; a token belongs beside it, as a secret"
        raise BadRepository("git-url", f"the URL of {host} has a query", hint)
    if not re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", host):
        raise BadRepository("git-url", f"{host!r} is no host", "write https://HOST/PATH")
    user, colon, password = userinfo.partition(":")
    secret = "${" in userinfo
    plain = _VARIABLES.fullmatch(password) and (
        _VARIABLES.fullmatch(user) or scheme == "ssh" or not re.search(r"\d", user)
    )
    if (colon and scheme == "ssh") or not plain:
        mend = 'name a secret: token = { secret = "NAME" }; in a requirements file, write '
        hint = mend + "${VARIABLE} in their place. What stood here is to be changed"
        raise BadRepository("credentials-in-file", f"the URL of {host} holds credentials", hint)
    if secret and scheme == "ssh":
        hint = "write the user's name; ssh logs in with keys, from your agent or ~/.ssh"
        raise BadRepository("git-url", f"a variable stands for the user of {host}", hint)
    kept = f"{userinfo}@" if at and not secret else ""
    path = path.rstrip("/").replace("@", "%40")
    return f"{scheme}://{kept}{host}{slash}{path}", userinfo if secret else None


def read_item_url(given: str) -> tuple[str, str | None]:
    """As `read_url`, of a recipe, where what a requirement line has in its URL stands beside it.

    Raises BadRepository.
    """
    after = given.partition(":")[2].lstrip("/")
    if not re.match(r"[./~]|(?:git\+)?file:", given) and after:
        if "#" in given:
            hint = 'write it beside the URL: subdirectory = "…"; package = "…"'
            raise BadRepository("git-url", "the URL has a part behind a #", hint)
        name, at, ref = given.rstrip("/").rpartition("/")[2].partition("@")
        if name and at and "/" in after:
            hint = f'write it beside the URL: ref = "{ref}"; an @ of the path itself is %40'
            raise BadRepository("git-url", "the URL has a ref behind an @", hint)
    return read_url(given)


def read_line_url(text: str) -> tuple[Repository, str | None, dict[str, str]]:
    """What a requirement line has after `NAME @ `, from `git+` on: the repository, credentials as
    written, and the other parts of the fragment. Raises BadRepository.
    """
    url, _, fragment = text.partition("#")
    scheme, sep, rest = url.partition("://")
    if not sep:
        scheme, sep, rest = url.partition(":")
    start = rest.find("/")
    # `@` before the path is a user's; of an scp-like path, only one after the colon is a ref.
    head, path = (rest[:start], rest[start:]) if start >= 0 else (rest, "")
    path, at, ref = path.rpartition("@") if "@" in path else (path, "", "")
    if at and not ref:
        hint = "write the branch, tag or commit after the @, or leave it out"
        raise BadRepository("git-url", "the URL ends in an @ that no ref follows", hint)
    parts = dict(part.partition("=")[::2] for part in fragment.split("&") if part)
    if relative_path(f"file:{rest}" if scheme == "git+file" and sep == ":" else "") is not None:
        hint = "write git+file:///PATH, or name it under the image's `git`"
        raise BadRepository("git-url", "the path of the repository is relative", hint)
    clean, userinfo = read_url(f"{scheme.removeprefix('git+')}{sep}{head}{path}")
    subdirectory = unquote(parts.pop("subdirectory", "")) or None
    found = Repository(url=clean, ref=check_ref(unquote(ref)) if ref else None)
    if subdirectory:
        found = replace(found, subdirectory=check_subdirectory(subdirectory))
    return found, userinfo, parts


def check_ref(ref: str) -> str:
    """A branch, tag or commit that git could have. Raises BadRepository."""
    if not ref or _NO_REF.search(ref):
        hint = "write the name of a branch or tag, a commit, or refs/…"
        raise BadRepository("git-url", f"{ref!r} can be no branch, tag or commit", hint)
    return ref


def check_subdirectory(path: str) -> str:
    """A folder within a repository, without needless parts. Raises BadRepository."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or path.startswith("/") or re.search(r"[\x00-\x1f\x7f\\]", path) or not parts:
        hint = "write the folder's path from the top of the repository: packages/core"
        raise BadRepository("git-url", f"{path!r} is no folder within a repository", hint)
    return "/".join(parts)


def repository_of(line: str) -> Repository | None:
    """The repository of a checked requirement line or a pin's URL; None where it has none."""
    text = line.partition(" @ ")[2].strip() if " @ " in line else line
    text = re.split(r"\s+;\s*", text, maxsplit=1)[0].strip()
    if not text.startswith("git+"):
        return None
    if text.startswith("git+file:") and not text.startswith("git+file:/"):
        url, _, fragment = text.removeprefix("git+").partition("#")
        url, _, ref = url.rpartition("@") if "@" in url else (url, "", "")
        where = unquote(fragment.removeprefix("subdirectory=")) or None
        return Repository(url=url, ref=unquote(ref) or None, subdirectory=where)
    return read_line_url(text)[0]


def line_for(text: str, root: Path) -> str:
    """A requirement line, or a pin's URL, whose repository's path does not depend on a folder."""
    found = re.search(r"git\+file:(?!/)\S*", text)
    if found is None:
        return text
    repository = repository_of(found.group())
    assert repository is not None
    return text.replace(found.group(), repository.absolute(root).text)


def without_credentials(url: str) -> str:
    """A URL without what stands before the `@` of its host, but for a user's name under ssh."""
    parts = urlsplit(url)
    if parts.scheme in ("ssh", "git+ssh"):
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def accesses_for(url: str, known: Iterable[Access]) -> Iterator[Access]:
    """Those of the accesses that concern a repository's host, the repository's own first."""
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    found = [access for access in known if access.host == host]
    yield from sorted(found, key=lambda a: (a.url != url, a.url))


__all__ = [
    "Access",
    "BadRepository",
    "Repository",
    "accesses_for",
    "check_ref",
    "check_subdirectory",
    "line_for",
    "read_item_url",
    "read_line_url",
    "read_url",
    "repository_of",
    "without_credentials",
]
