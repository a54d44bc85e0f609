"""One requirement line: what may stand in it, and how it is told apart from what may not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from coopery.dependencies import Requirement
from coopery.errors import Place, Problem
from coopery.indexes import redact
from coopery.repositories import Access, BadRepository, read_line_url

_NUMBER = r"\d+(?:\.\d+)*"
_CLAUSE = rf"(?:(?:==|!=)\s*{_NUMBER}(?:\.\*)?|(?:>=|<=|<|>)\s*{_NUMBER}|~=\s*\d+(?:\.\d+)+)"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PLAIN = re.compile(
    rf"{_WORD}\s*(?:\[\s*(?:{_WORD}(?:\s*,\s*{_WORD})*)?\s*\])?\s*(?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?"
)
"""The plain form, known to be valid without `packaging`, whose import takes 20 ms."""
_NAME = re.compile(_WORD)
_URL = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!&'()*+,;=%]|\$\{[A-Z0-9_]+\})+")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz", ".tar")
_STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
_OTHER_VCS = re.compile(r"(?:git|svn)://|(?:hg|svn|bzr)\+")

Refuse = Callable[[str, str, str | None], None]
"""Takes a problem: slug, message, hint."""


def normalise(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(line: str) -> str:
    """The normalised name that a checked line asks for."""
    match = _NAME.match(line)
    return normalise(match.group()) if match else ""


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Collects problems at one place."""

    place: Place
    problems: list[Problem]

    def __call__(self, slug: str, message: str, hint: str | None) -> None:
        self.problems.append(
            Problem(slug=slug, message=redact(message), place=self.place, hint=hint)
        )


def read_requirement(
    text: str, refuse: Refusals, *, hashes: tuple[str, ...] = (), constraint: bool = False
) -> Requirement | None:
    """A requirement from its text, or None when it is refused; direct URLs become `NAME @ URL`."""
    shown = repr(text if len(text) <= 80 else text[:77] + "…")
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in text):
        hint = "write each requirement as an item, or a line, of its own"
        refuse("invalid-requirement", f"{shown} holds a line break or control character", hint)
        return None
    line = text.strip()
    access = None
    if not line or line.startswith("#"):
        hint = "take it out, or name a package: numpy>=2"
        refuse("invalid-requirement", f"{shown} names no package", hint)
        return None
    if line.startswith("-"):
        hint = "options belong into a requirements file, named under `requirements`"
        refuse("invalid-requirement", f"{shown} is an option, not a requirement", hint)
        return None
    if not _PLAIN.fullmatch(line):
        checked = _read_other(line, shown, refuse)
        if checked is None:
            return None
        line, hashes, access = checked.line, hashes + checked.hashes, checked.access
        if hashes and " @ git+" in line:
            hint = "take the hash out: the lock has the commit, which stands for all that is there"
            refuse("invalid-requirement", f"{shown}: a repository has no hash", hint)
            return None
    if (
        hashes
        and not constraint
        and " @ " not in line
        and not re.search(r"===?\s*[^\s*]+\s*(;|$)", line)
    ):
        hint = f"pin it: {name_of(line)}==VERSION --hash=…"
        refuse("invalid-requirement", f"{shown} has hashes but no exact version", hint)
        return None
    return Requirement(
        line=line,
        place=refuse.place,
        constraint=constraint,
        hashes=tuple(sorted(set(hashes))),
        access=access,
    )


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line to keep, with what was in its URL and is kept apart."""

    line: str
    hashes: tuple[str, ...] = ()
    access: Access | None = None


def _read_other(line: str, shown: str, refuse: Refusals) -> _Line | None:
    """Any form but the plain one."""
    if line.startswith("git+"):
        return _bare_git(line, shown, refuse)
    if _OTHER_VCS.match(line):
        _refuse_vcs(shown, refuse)
        return None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", line) or line.startswith("file:"):
        return _bare_url(line, shown, refuse)
    if re.match(r"[./~]|[A-Za-z]:\\", line) or re.fullmatch(
        r"[^\s@;]*(/|\.whl|\.tar\.gz)[^\s@;]*", line
    ):
        _refuse_path(shown, refuse)
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    # packaging's URL grammar has no place for `${VARIABLE}`'s braces; any text stands for them.
    masked = re.sub(r"\$\{([A-Z0-9_]+)\}", r"\1", line)
    try:
        parsed = Requirement(masked)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        hint = "write it as PEP 508 has it: NAME[EXTRA]>=1.2; python_version < '3.12'"
        refuse("invalid-requirement", f"{shown} is not a requirement: {reason}", hint)
        return None
    if "${" in line and not parsed.url:
        hint = "write the name and the versions themselves"
        refuse("invalid-requirement", f"{shown}: a variable may stand in a URL only", hint)
        return None
    if not parsed.url:
        return _Line(line=line)
    _, _, rest = line.partition("@")
    url, marker = [*re.split(r"\s+;\s*", rest.strip(), maxsplit=1), ""][:2]
    if url.startswith("git+"):
        return _git(parsed.name, sorted(parsed.extras), url, marker, shown, refuse)
    checked = check_url(url, shown, refuse)
    if checked is None:
        return None
    url, hashes = checked
    if not _check_file(parsed.name, url, shown, refuse):
        return None
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    text = f"{parsed.name}{extras} @ {url}" + (f" ; {marker}" if marker else "")
    return _Line(line=text, hashes=hashes)


def _git(
    name: str, extras: Sequence[str], url: str, marker: str, shown: str, refuse: Refusals
) -> _Line | None:
    """`NAME[EXTRAS] @ git+URL@REF#subdirectory=PATH ; MARKER`."""
    try:
        repository, userinfo, rest = read_line_url(url)
    except BadRepository as error:
        refuse(error.slug, f"{shown}: {error.reason}", error.hint)
        return None
    egg = rest.pop("egg", name)
    if normalise(egg.partition("[")[0]) != normalise(name):
        hint = f"write {name}, or take `egg=` out"
        refuse("invalid-requirement", f"{shown} has two names: {name} and {egg}", hint)
        return None
    if rest:
        hint = "of a repository's URL, only `subdirectory` and `egg` may stand after the #"
        if "lfs" in rest:
            hint = "commit the files that the package needs as they are: large files are not had"
        refuse("invalid-requirement", f"{shown}: {next(iter(rest))!r} is not supported", hint)
        return None
    wanted = f"[{','.join(extras)}]" if extras else ""
    text = f"{name}{wanted} @ {repository.text}" + (f" ; {marker}" if marker else "")
    access = Access(url=repository.url, userinfo=userinfo, place=refuse.place)
    return _Line(line=text, access=access if userinfo else None)


def _bare_git(line: str, shown: str, refuse: Refusals) -> _Line | None:
    """`git+URL`, whose package is called as `egg=` says, else as the repository."""
    url, marker = [*re.split(r"\s+;\s*", line, maxsplit=1), ""][:2]
    extras: list[str] = []
    if match := re.fullmatch(r"(.+?)\[([A-Za-z0-9._, -]+)\]", url):
        url, extras = match[1], sorted(part.strip() for part in match[2].split(","))
    try:
        repository, _, rest = read_line_url(url)
    except BadRepository as error:
        refuse(error.slug, f"{shown}: {error.reason}", error.hint)
        return None
    name = rest.get("egg", repository.name)
    if not _NAME.fullmatch(name):
        hint = f"write NAME @ {redact(url)}"
        refuse("invalid-requirement", f"{shown} does not tell its package's name", hint)
        return None
    return _git(name, extras, url, marker, shown, refuse)


def _check_file(name: str, url: str, shown: str, refuse: Refusals) -> bool:
    """Whether a wheel behind a URL can be one of this distribution (PEP 427's file names)."""
    file = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    parts = file.removesuffix(".whl").split("-")
    if not file.endswith(".whl") or "${" in file:
        return True
    if len(parts) not in (5, 6):
        hint = "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl: mend the URL"
        refuse("invalid-requirement", f"{shown}: {file!r} is no file name of a wheel", hint)
        return False
    if normalise(parts[0]) != normalise(name):
        hint = f"ask for {normalise(parts[0])}, or give the URL of a wheel of {name}"
        refuse("invalid-requirement", f"{shown}: the wheel is one of {parts[0]!r}", hint)
        return False
    return True


def _bare_url(line: str, shown: str, refuse: Refusals) -> _Line | None:
    """`https://…/name-1.0-….whl`, `…#egg=name`, either with `[extra]` or a marker."""
    url, _, marker = (part.strip() for part in line.partition(" ;"))
    extras = ""
    if match := re.fullmatch(r"(.+?)(\[[A-Za-z0-9._, -]+\])", url):
        url, extras = match.groups()
    egg = re.search(r"[#&]egg=([^&\[]+)(\[[^&\]]+\])?", url)
    stem = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    if egg:
        name, extras = egg.group(1), egg.group(2) or extras
    elif stem.endswith(".whl"):
        name = stem.split("-")[0].replace("_", "-")
    else:
        sdist = re.fullmatch(rf"({_WORD})-\d[^-]*(?:{'|'.join(map(re.escape, _ARCHIVES))})", stem)
        name = sdist.group(1) if sdist else ""
    if not _NAME.fullmatch(name):
        if check_url(url, shown, refuse):
            hint = f"write NAME @ {redact(url)}"
            refuse("invalid-requirement", f"{shown} does not tell its package's name", hint)
        return None
    url = re.sub(r"(?<=[#&])egg=[^&]*&?", "", url).rstrip("#&")
    return _read_other(
        f"{name}{extras} @ {url}" + (f" ; {marker}" if marker else ""), shown, refuse
    )


def check_url(url: str, shown: str, refuse: Refusals) -> tuple[str, tuple[str, ...]] | None:
    """A direct reference to an archive, and the hashes in its fragment, or None when refused."""
    scheme = urlsplit(url).scheme
    if _OTHER_VCS.match(url):
        _refuse_vcs(shown, refuse)
        return None
    if scheme == "file" or ("://" not in url and not scheme):
        _refuse_path(shown, refuse)
        return None
    if scheme not in ("http", "https") or not _URL.fullmatch(url):
        hint = "download it, and list it under the image's `wheels` or `projects`"
        refuse("invalid-requirement", f"{shown}: not a URL of http or https", hint)
        return None
    if not check_credentials(url, refuse):
        return None
    base, _, fragment = url.partition("#")
    hashes, kept = [], []
    for part in filter(None, fragment.split("&")):
        algorithm, _, value = part.partition("=")
        if algorithm in ("subdirectory", "egg"):
            kept.append(part)
        elif digest := check_hash(f"{algorithm}:{value}", refuse):
            hashes.append(digest)
        else:
            return None
    return base + (f"#{'&'.join(kept)}" if kept else ""), tuple(hashes)


def check_credentials(url: str, refuse: Refusals) -> bool:
    """Whether a URL holds no password or token as such: `${VARIABLE}` and user names may stand."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    variables = re.compile(r"(?:\$\{[A-Z0-9_]+\})*")
    if not at or (
        variables.fullmatch(password) and (variables.fullmatch(user) or not re.search(r"\d", user))
    ):
        return True
    hint = "write ${VARIABLE} in their place, or keep them in netrc or uv's or pip's configuration"
    refuse("credentials-in-file", f"{redact(url)} holds credentials", hint)
    return False


def check_hash(text: str, refuse: Refusals) -> str | None:
    """`ALGORITHM:HEX` when it is strong and whole, else None."""
    algorithm, _, value = text.partition(":")
    length = _STRONG.get(algorithm)
    if length is None:
        hint = f"take {', '.join(_STRONG)}"
        refuse("invalid-requirement", f"hash {text!r}: {algorithm!r} is not accepted", hint)
    elif not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", value):
        message = f"hash {text!r}: expected {length} hexadecimal digits"
        refuse("invalid-requirement", message, f"copy the whole {algorithm} from the index")
    else:
        return text.lower()
    return None


def _refuse_vcs(shown: str, refuse: Refusals) -> None:
    hint = "coopery fetches from git, over https, http, ssh or file: NAME @ git+https://HOST/PATH"
    hint += "; or use a checkout: projects = [{ path = … }]"
    refuse("vcs-requirement", f"{shown} comes from a kind of repository that is not known", hint)


def _refuse_path(shown: str, refuse: Refusals) -> None:
    hint = "list a folder under the image's `projects`, a wheel file under `wheels`"
    refuse("local-requirement", f"{shown} is a local path", hint)
