"""Keep what is confidential out of all that coopery says and writes.

Whoever comes to know such a value says so with `keep_out`; whoever writes text for a person or a
file sends it through `masked`, or a stream of it through a `Mask`. What is known is known to the
whole process: a value may turn up anywhere in it, in an error of a library for one.

Besides the value itself, its usual disguises are masked: in a URL, in JSON, in markup, in Python's
and the shell's quotes, in base64 (wherever in a longer text it begins), in hexadecimal digits. Of a
value of several lines, such as a private key, each line is masked.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MARK = "****"
"""What stands in the place of a value."""

_SHORTEST_LINE = 8
"""Lines of a value that have fewer characters are masked with the whole alone."""

_lock = threading.Lock()
_forms: set[bytes] = set()
_known: tuple[re.Pattern[bytes], tuple[bytes, ...], int] | None = None
"""The pattern of all forms, these, and the longest's length."""

_MANY = 40
"""From so many forms on, they are not tried one after the other."""
_AHEAD = 16
"""Bytes that are looked at one by one, before forms are compared."""
_HEAD = 4
"""Bytes by which the beginning of a form is looked for."""


def keep_out(value: str) -> None:
    """From now on, `masked` and every Mask hide this value. An empty one hides nothing."""
    global _known
    with _lock:
        before = len(_forms)
        for text in {value, *_lines(value)}:
            _forms.update(form for form in _disguises(text) if form)
        if len(_forms) > before:
            forms = tuple(sorted(_forms))
            _known = re.compile(_pattern(forms)), forms, max(map(len, forms))


def _pattern(forms: Sequence[bytes]) -> bytes:
    """What matches the longest of these forms, wherever any begins.

    A key of many lines has hundreds of them, and a log millions of bytes: then a look at the next
    few bytes must do at most places, and forms are told apart byte by byte.
    """
    longest = sorted(forms, key=lambda form: (-len(form), form))
    long = [form for form in longest if len(form) >= _AHEAD]
    if len(long) < _MANY:
        return b"|".join(map(re.escape, longest))
    ahead = b"".join(_any_of({form[index] for form in long}) for index in range(_AHEAD))
    short = map(re.escape, longest[len(long) :])
    return b"|".join([b"(?=" + ahead + b")" + _branches(long), *short])


def _any_of(values: set[int]) -> bytes:
    return b"[" + b"".join(re.escape(bytes([value])) for value in sorted(values)) + b"]"


def _branches(forms: Sequence[bytes]) -> bytes:
    """What matches one of these, the longest if one begins with another."""
    groups: dict[int, list[bytes]] = {}
    for form in forms:
        if form:
            groups.setdefault(form[0], []).append(form)
    if not groups:
        return b""
    found = []
    for members in groups.values():
        common = _common(min(members), max(members))
        found.append(re.escape(common) + _branches([form[len(common) :] for form in members]))
    return b"(?:" + b"|".join(found) + (b")?" if b"" in forms else b")")


def _common(one: bytes, other: bytes) -> bytes:
    """What both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]


def is_needed() -> bool:
    """Whether anything is known that must not be said."""
    return _known is not None


def masked(text: str) -> str:
    """The text with every known value replaced by `****`."""
    if _known is None:
        return text
    raw = text.encode("utf-8", "surrogatepass")
    return _known[0].sub(MARK.encode(), raw).decode("utf-8", "surrogatepass")


def masked_bytes(content: bytes) -> bytes:
    """As `masked`, of bytes that are whole."""
    return content if _known is None else _known[0].sub(MARK.encode(), content)


def masked_value(value: Any) -> Any:
    """As `masked`, of all texts in plain data and in frozen dataclasses, keys included."""
    if _known is None:
        return value
    match value:
        case str():
            text = masked(value)
            return value if text == value else text  # a member of an enum stays one
        case bytes():
            return masked_bytes(value)
        case Mapping():
            return {masked_value(key): masked_value(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(map(masked_value, value))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init)
            new = {name: (part, masked_value(part)) for name, part in parts}
            changed = {name: after for name, (part, after) in new.items() if after != part}
            return dataclasses.replace(value, **changed) if changed else value
    return value


class Mask:
    """`masked` for bytes that come in chunks, whose borders may run through a value.

    Only what may be the beginning of a value is held back until more comes.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be passed on by now."""
        if _known is None:
            return chunk
        content = self._held + chunk
        cut = _open_end(content)
        passed, self._held = content[:cut], content[cut:]
        return masked_bytes(passed)

    def end(self) -> bytes:
        """What is left when nothing more comes."""
        held, self._held = self._held, b""
        return masked_bytes(held)


def _open_end(content: bytes) -> int:
    """Where the earliest form begins that more bytes could make whole, or longer."""
    assert _known is not None
    pattern, forms, _ = _known
    starts = sorted({start for form in forms for start in _openings(content, form)})
    if not starts:
        return len(content)
    whole = [found.span() for found in pattern.finditer(content)]
    inside = (s for s in starts if not any(begin < s < end for begin, end in whole))
    return next(inside, len(content))


def _openings(content: bytes, form: bytes) -> Iterator[int]:
    """From where on `content` is the beginning of a form, and not all of it."""
    size = len(content)
    first = max(0, size - len(form) + 1)
    start = content.find(form[:_HEAD], first)
    while start >= 0:
        if form.startswith(content[start:]):
            yield start
        start = content.find(form[:_HEAD], start + 1)
    for start in range(max(first, size - _HEAD + 1), size):
        if form.startswith(content[start:]):
            yield start


def _lines(value: str) -> Iterator[str]:
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE)


def _disguises(value: str) -> Iterator[bytes]:
    """The value as it may be written."""
    import json
    import shlex

    raw = value.encode("utf-8", "surrogateescape")
    yield raw
    yield from _in_urls(raw)
    for escaped in (
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        shlex.quote(value).strip("'"),
        *_in_markup(value),
    ):
        yield escaped.encode("utf-8", "surrogateescape")
    if len(raw) < 6:
        return  # so short a part of base64 is anywhere
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for offset in range(3):
        yield from _within_base64(raw, offset)


_IN_URLS = ("", "/", "!'()*", "!$&'()*+,~", "!$&'()*+,;=:@/~")
"""What is left as it is by RFC 3986, by Python, by JavaScript, by the URL standard's user and
password, and in a path: programs differ.
"""


def _in_urls(raw: bytes) -> Iterator[bytes]:
    """The value in a URL, with digits of either case."""
    from urllib.parse import quote, quote_plus

    for text in {quote_plus(raw), *(quote(raw, safe=safe) for safe in _IN_URLS)}:
        yield text.encode()
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text).encode()


def _in_markup(value: str) -> Iterator[str]:
    """The value as it stands in HTML and XML, as text and in an attribute."""
    text = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield text
    quoted = text.replace('"', "&quot;")
    yield quoted
    yield quoted.replace("'", "&#x27;")


def _within_base64(raw: bytes, offset: int) -> Iterator[bytes]:
    """The characters of base64 that tell of nothing but the value, where it begins `offset` bytes
    into a group of three.
    """
    import base64

    first = -(-offset * 8 // 6)
    last = (offset + len(raw)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(b"\0" * offset + raw + b"\0" * 2)[first:last]
