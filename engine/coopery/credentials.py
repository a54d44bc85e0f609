"""Text that looks like a password, a key or a token: found, and told without repeating it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coopery.errors import KeyPath, Place, Problem

if TYPE_CHECKING:
    from coopery.model import Recipe

Literal = tuple[KeyPath, str, str]
"""Where a text stands, the name it is given (or nothing), and the text."""

_FILES = re.compile(
    r"""\.env(\.(?!example$|sample$|template$|dist$).*)?
    | id_(rsa|dsa|ecdsa|ed25519) | .*\.(pem|key|p12|pfx|kdbx) | \.netrc | \.pypirc | \.pgpass
    | \.git-credentials | \.htpasswd | credentials(\.(json|toml|ya?ml|ini|csv|txt|xml))?""",
    re.VERBOSE | re.IGNORECASE,
)


def is_credential_file(name: str) -> bool:
    """Whether a file of this base name is likely to hold credentials."""
    return _FILES.fullmatch(name) is not None


SHORTEST = 4
"""What has fewer characters is none."""

LONGEST = 100_000
"""How many characters of a text are looked at: what is longer is data."""

_FORMATS = {
    "a private key": r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\S]{1,300}?[A-Za-z0-9+/=]{20}",
    "an AWS access key": r"(?<![A-Za-z0-9+/])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9+])",
    "an Azure storage key": r"AccountKey=[A-Za-z0-9+/]{86}==",
    "a Databricks token": r"\bdapi[0-9a-f]{32}\b",
    "a GitHub token": r"\bgh[opsur]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40}",
    "a GitLab token": r"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[\w-]{20}",
    "a Google key": r"\bAIza[\w-]{35}(?![\w-])|\bGOCSPX-[\w-]{28}|\bya29\.[\w-]{20}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{34}",
    "a JSON web token": r"\beyJ[\w-]{10,500}\.eyJ[\w-]{10,2000}\.[\w-]{16}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a PyPI token": r"\bpypi-Ag[\w-]{50}",
    "a SendGrid key": r"\bSG\.[\w-]{22}\.[\w-]{43}",
    "a Slack token": r"\bxox[abeoprs]-(?=[A-Za-z-]{0,60}\d)[A-Za-z0-9-]{10}"
    r"|\bxapp-\d-[A-Z0-9]{6,40}-\d"
    r"|hooks\.slack\.com/services/T\w{6,20}/B\w{6,20}/\w{16}",
    "a Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16}|\bwhsec_[A-Za-z0-9]{24}",
    "an API key": r"\bsk-(?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Z])(?=[\w-]{0,200}[a-z])[\w-]{32}"
    r"|\bsk-[0-9a-f]{32}\b",
}
"""What tokens look like according to those who hand them out; all of them have a fixed prefix."""

_PREFIXES = """
-----BEGIN AKIA ASIA ABIA ACCA AccountKey= dapi gho_ ghp_ ghs_ ghu_ ghr_ github_pat_ glpat-
gldt- glrt- glcbt- glptt- glft- glimt- glagent- glsoat- AIza GOCSPX- ya29. hf_ eyJ npm_
pypi-Ag SG. xox xapp- hooks.slack sk- sk_live_ sk_test_ rk_live_ rk_test_ whsec_
"""
_MARKS = tuple(_PREFIXES.split())
"""One of these is in every text that one of the formats matches: much quicker to look for."""

_URL = (
    r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"<>?#]{0,200}"
    r":([^\s/@'\"<>{}]{1,500})@(?=[\w\[{$]|\Z)"
)
_HEADER = r"(?i:authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+)([\w.~+/=-]{16,})"

_WORDS = ("pass", "pwd", "secret", "token", "key", "credential", "authorization")
"""One of these (in small letters) is in every name that says what it holds, and in `_HEADER`."""

_PASSWORDS = ("password", "passwd", "passphrase")
_SECRET_NAMES = """
secret token apikey secretkey accesskey privatekey authkey signingkey encryptionkey
credential
"""
_SECRETS = tuple(_SECRET_NAMES.split())
_PASS = r"(?:^|[a-z0-9](?=P)|[_.-])(?:pass|PASS|Pass|pwd|PWD|Pwd)\d*$"

_SOURCE = r"(?i:passw|passphrase|pass\d*['\"\])]*\s*[=:,]|pwd|secret|token|[a-z]_?-?key|credential)"

_ASSIGNED = (
    r"(?<![\w.-])(?P<option>--?)?(?P<name>[A-Za-z][\w.-]{0,80})(?![\w.-])['\"]?"
    r"(?:(?P<sign>\s*[:=]\s*)|(?(option)\s+|(?!)))"
    r"(?='(?P<single>[^'\n]{1,200})'|\"(?P<double>[^\"\n]{1,200})\"|(?P<bare>[^\s'\",;&|)]{1,200}))"
)
"""`NAME=value`, `name: "value"`, `--name value`, inside a longer text."""

_PLACEHOLDERS = """
changeme change-me change_me none null true false string text str required optional hidden
redacted dummy placeholder example todo tbd test testing default unset empty undefined user
username login prompt ask env environment file keyring vault basic bearer
"""
_STANDS_FOR = frozenset(_PLACEHOLDERS.split())
_OUTSIDE = ("$", "%(", "%s", "/", "./", "../", "~", "@", "*", "<", "[", "(", "{")
"""How a value begins that is filled in elsewhere, a path, or a mark such as `<pad>`."""

HINT = (
    "literals end up in keys, records and process lists: name it as a secret instead, "
    'secrets.TOKEN = { secret = "NAME" } of the task (docs/how-to/keep-secrets.md)'
)


def kind_of(text: str, name: str = "") -> str | None:
    """What a text looks like, such as `a GitHub token`; None when like nothing of the kind.

    `name` is the name that the text is given, of a variable, an argument or an option: it tells
    passwords, which have no format of their own.
    """
    if len(text) < SHORTEST:
        return None
    text = text[:LONGEST]
    if _holds(text, _MARKS):
        for kind, pattern in _formats().items():
            if pattern.search(text):
                return kind
    if "://" in text and "@" in text:
        for url in _compiled(_URL).finditer(text):
            if _is_password(url[1]):
                return "a URL with a password"
    lowered = text.lower()
    if "authorization" in lowered:
        for header in _compiled(_HEADER).finditer(text):
            if any(c.isdigit() for c in header[1]):
                return "an authorization header"
    if name and (told := _named(name, text)):
        return told
    if _holds(lowered, _WORDS):
        for found in _compiled(_ASSIGNED).finditer(text):
            if told := _assigned(found):
                return told
    return None


def found_in(literals: Callable[[], Iterable[Literal]]) -> list[Problem]:
    """A warning for each literal that looks like a credential.

    All are looked at in one go before any by itself, for a recipe may hold 100,000 of them; so
    `literals` is called once, and once more when some of them deserve a second look.
    """
    names: set[str] = set()
    texts: set[str] = set()
    for _, name, text in literals():
        names.add(name)
        texts.add(text)
    joined = "\0".join(texts)
    lowered = joined.lower()
    marks = [mark for mark in (*_MARKS, "://") if mark in joined]
    words = [word for word in _WORDS if word in lowered]
    telling = {name for name in names if any(word in name.lower() for word in _WORDS)}
    if not (marks or words or telling):
        return []
    look = functools.cache(kind_of)
    found = []
    for key, name, text in literals():
        if name in telling or _holds(text, marks) or (words and _holds(text.lower(), words)):
            kind = look(text, name)
            if kind:
                found.append(warning(kind, key=_sayable(key)))
    return found


def may_name(text: str) -> bool:
    """Whether some name in a source text may be one that tells a credential; quick."""
    return _compiled(_SOURCE).search(text) is not None


def _holds(text: str, parts: Sequence[str]) -> bool:
    return any(part in text for part in parts)


def _sayable(key: KeyPath) -> KeyPath:
    """The key up to a part that itself looks like a credential."""
    for index, part in enumerate(key):
        if isinstance(part, str) and kind_of(part):
            return key[:index]
    return key


def warning(kind: str, *, key: KeyPath, place: Place | None = None, what: str = "this") -> Problem:
    """That there is a literal of this kind; what it says is not told."""
    return Problem(
        slug="credential-literal",
        message=f"{what} looks like {kind}",
        place=place or Place(key=key),
        hint=HINT,
        warning=True,
    )


def check(recipe: Recipe) -> list[Problem]:
    """Warnings for the literals of a recipe that the engine's own keys hold."""
    return found_in(lambda: _literals(recipe))


def _literals(recipe: Recipe) -> Iterator[Literal]:
    for name, text in recipe.defaults.env.items():
        yield ("defaults", "env", name), name, text
    for image in recipe.images.values():
        for name, text in image.env.items():
            yield ("image", image.name, "env", name), name, text
    given = recipe.defaults.env
    for task in recipe.tasks.values():
        for name, text in task.env.items():
            if given.get(name) != text:  # else it is told once, where the default stands
                yield ("task", task.name, "env", name), name, text
        for noun, table in ("params", task.params), ("matrix", task.matrix):
            for name, value in table.items():
                if isinstance(value, str):
                    yield ("task", task.name, noun, name), name, value
                elif not isinstance(value, int | float):
                    yield from texts_of(value, ("task", task.name, noun, name), name)


def texts_of(value: Any, key: KeyPath, name: str) -> Iterator[Literal]:
    """All texts in plain data; those in a list bear the list's name."""
    if isinstance(value, str):
        yield key, name, value
    elif isinstance(value, Mapping):
        for part, inner in value.items():
            yield key, "", str(part)
            yield from texts_of(inner, (*key, part), str(part))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from texts_of(inner, (*key, index), name)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@functools.cache
def _formats() -> Mapping[str, re.Pattern[str]]:
    return {kind: re.compile(pattern) for kind, pattern in _FORMATS.items()}


def _named(name: str, value: str) -> str | None:
    """What a value is according to the name it bears."""
    bare = re.sub(r"[^a-z]", "", name.lower())
    if "public" in bare:
        return None
    if bare.endswith(_PASSWORDS):
        return "a password" if _is_password(value) else None
    password = _compiled(_PASS).search(name)
    if (password or bare.endswith(_SECRETS)) and _is_secret(value):
        return "a password" if password else "a secret"
    return None


def _is_password(value: str) -> bool:
    """Whether it may be one: no placeholder, no name of a variable, no text for people."""
    if (
        len(value) < SHORTEST
        or value.startswith(_OUTSIDE)
        or any(c.isspace() or c in "{}" for c in value)
    ):
        return False
    if _holds(value, ("://", "${", "$(", "***")):
        return False
    lowered = value.lower()
    if lowered in _STANDS_FOR or len(set(value)) == 1 or lowered.startswith(("your", "my_", "my-")):
        return False
    # A name such as `db_password` or `DB_PASS_2` is no value.
    says = re.sub(r"[^a-z]", "", lowered).endswith((*_PASSWORDS, *_SECRETS, "pass", "pwd"))
    if says and not any(c.isdigit() for c in value):
        return False
    return re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|[A-Za-z_][\w.]*[(\[].*", value) is None


def _is_secret(value: str) -> bool:
    """As a password, and drawn by a machine: letters and digits, and not short.

    Tokens are also what language models and parsers read, and secrets have names.
    """
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    return len(value) >= 8 and digits > 0 and letters > 0 and _is_password(value)


def _assigned(found: re.Match[str]) -> str | None:
    """What a value is that a longer text gives to a name."""
    name, bare = found["name"], found["bare"]
    value = bare or found["single"] or found["double"]
    sign = (found["sign"] or "").strip()
    if not sign and not found["option"]:
        return None
    kind = _named(name, value)
    if kind is None or not bare:
        return kind
    # Without quotes it may be code: `password=field`, `token = words.next()`.
    shell = found["option"] or (name.isupper() and found["sign"] == "=")
    return kind if shell or _is_secret(value) else None
