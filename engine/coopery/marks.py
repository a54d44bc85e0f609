"""The marks by which annotations say more of a value than its type does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Mark:
    text: str


shorthand = _Mark("shorthand")
"""Marks the field that a plain value in place of a table stands for."""
unkeyed = _Mark("unkeyed")
"""Marks a field that enters no key."""
rest = _Mark("rest")
"""Marks the `Mapping[str, X]` that takes all keys which no other field has."""


@dataclass(frozen=True)
class named:
    """Marks a field whose name in recipes differs from its name in Python."""

    name: str


@dataclass(frozen=True)
class Text:
    """Marks a value written as text and parsed by `parse` (which raises ValueError to refuse).

    With `number`, a plain number greater than zero is taken as it is.
    """

    parse: Callable[[str], Any]
    pattern: str
    what: str
    number: bool = False
    mend: str | None = None
    """How to write it, as a hint."""
    quiet: bool = False
    """Whether a message must not repeat a wrong value, which may be a password."""


@dataclass(frozen=True)
class NotText:
    """What is said where a table is expected and text is found, which is never repeated.

    A dataclass says so by a class attribute `not_text`.
    """

    slug: str
    message: str
    mend: str


class Callables:
    """Marks a field that a Python recipe fills with a function; TOML writes `module:name`."""


@dataclass(frozen=True)
class AtLeast:
    """Marks a number that must not be smaller than `least`, nor equal to it if it is `above`."""

    least: float
    above: bool = False
