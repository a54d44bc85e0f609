"""Frozen dataclasses from raw recipe data: every problem at once, and the same as a JSON Schema.

The recipe's nouns and plugins' facets are ordinary dataclasses; their annotations say what a
recipe may hold. Supported: `str`, `int`, `float`, `bool`, `Any`, `Literal`, unions, `X | None`,
`tuple[X, ...]`, `Mapping[str, X]`, nested dataclasses, and `Annotated` with the marks below.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from coopery.errors import KeyPath, Problem, nearest, problem
from coopery.marks import (
    AtLeast,
    Callables,
    NotText,
    Text,
    named,
    rest,
    shorthand,
)
from coopery.wording import expected, mend, pair, type_name

MISSING: Any = object()
"""What `convert` returns for a value that has problems."""


def check_name(text: str) -> str:
    """A task's, image's or channel's name (semantics 13). Raises ValueError."""
    if len(text) > 100:
        raise ValueError("expected a name of at most 100 characters")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", text):
        raise ValueError("expected letters, digits, - and _, not starting with a digit or -")
    return text


_NAME_MEND = "write a short name such as fit or fit-2"
Name = Annotated[
    str,
    Text(check_name, pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$", what="a name", mend=_NAME_MEND),
]
"""A name made safe for shells, folders, tags and labels."""


@dataclass(frozen=True)
class Field:
    """One key of a table, as read off a dataclass."""

    key: str
    attribute: str
    type: Any
    marks: tuple[object, ...]
    required: bool
    doc: str = ""

    # Made once per field: most of the time of reading a recipe is spent in these.
    @functools.cached_property
    def read(self) -> Reader:
        """What reads this key's value."""
        return reader(self.type)

    @functools.cached_property
    def attempt(self) -> Reader:
        """As `read`, but a value of another type is no problem yet."""
        return _attempt(self.type)


@functools.cache
def fields_of(kind: type) -> tuple[Field, ...]:
    """The keys that `kind` may have in a recipe; `facets` and `name` are the reader's own."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for item in dataclasses.fields(kind):
        hint, marks = _unwrap(hints[item.name])
        key = next((m.name for m in marks if isinstance(m, named)), item.name)
        required = (
            item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        )
        found.append(Field(key, item.name, hint, marks, required))
    return tuple(found)


def _keys_of(kind: type) -> list[str]:
    return [field.key for field in fields_of(kind) if rest not in field.marks]


def _unwrap(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """The type under `Annotated`, with the field's own marks; a Text mark stays with its type."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    base, *marks = get_args(hint)
    kept = tuple(m for m in marks if isinstance(m, Text | Callables | AtLeast))
    own = tuple(m for m in marks if m not in kept)
    return (Annotated[(base, *kept)] if kept else base), own


Reader = Callable[[Any, KeyPath, list[Problem]], Any]
"""Makes a value of one type from raw data found at a key; see `convert`."""


def convert(raw: Any, hint: Any, key: KeyPath, problems: list[Problem]) -> Any:
    """`raw` as a value of type `hint`; on problems, appends each and returns `MISSING`."""
    return reader(hint)(raw, key, problems)


def known_type(hint: Any) -> Any:
    """A type, or that of a name (`module:Name`), which is imported at its first use."""
    if not isinstance(hint, str):
        return hint
    module, _, name = hint.partition(":")
    return getattr(importlib.import_module(module), name)


def reader(hint: Any) -> Reader:
    """`convert` for one type, to be made once and used for many values: it looks at types once."""
    hint = known_type(hint)
    attempt = _attempt(hint)

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        value = attempt(raw, key, problems)
        if value is _MISMATCH:
            message = f"expected {expected(hint)}, found {type_name(raw)}"
            how = f"write {mend(hint, _keys_of)}"
            problems.append(problem("wrong-type", message, key=key, hint=how))
            return MISSING
        return value

    return read


_MISMATCH: Any = object()
"""What an attempt returns for a value of another type, which a union may still take."""


def _attempt(hint: Any) -> Reader:
    """As `reader`, but a value of another type is `_MISMATCH` and no problem yet."""
    hint = known_type(hint)
    origin = get_origin(hint)
    if hint is Any:
        return _read_plain
    if origin is Annotated:
        return _attempt_marked(*get_args(hint))
    if origin in (Union, types.UnionType):
        return _attempt_union(get_args(hint))
    if origin is Literal:
        return _attempt_literal(get_args(hint))
    if origin is tuple:
        return _attempt_tuple(get_args(hint)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _attempt_mapping(get_args(hint)[1])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return functools.partial(_read_dataclass, hint)
    if hint is str:
        return _read_str

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        return raw if isinstance(raw, hint) else _MISMATCH

    simple = {type(None): _read_none, float: _read_float, int: _read_int}
    return simple.get(hint, read)


def _read_none(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    return None if raw is None else _MISMATCH


def _read_float(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        return _MISMATCH
    if not abs(raw) <= sys.float_info.max:
        hint = "write digits: 0.5"
        problems.append(problem("wrong-value", "expected a finite number", key=key, hint=hint))
        return MISSING
    return float(raw)


def _read_int(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else _MISMATCH


def _read_str(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    if hasattr(raw, "__fspath__"):
        raw = str(raw)
    if not isinstance(raw, str):
        return _MISMATCH
    if "\0" in raw:
        problems.append(
            problem("wrong-value", "text holds a NUL character", key=key, hint=_NUL_MEND)
        )
        return MISSING
    return raw


_NUL_MEND = "take out the character of code 0"


def _read_plain(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    """Data of any plain form: text, numbers, booleans, lists and tables of them."""
    try:
        return freeze(raw)
    except ValueError as error:
        hint = "write text, numbers, true or false, and lists and tables of these"
        slug = "param-not-plain" if isinstance(error, NotPlain) else "wrong-value"
        problems.append(problem(slug, str(error), key=key, hint=hint))
        return MISSING


def _read_text(mark: Text, raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    if mark.number and isinstance(raw, int | float) and not isinstance(raw, bool):
        if 0 < raw <= sys.float_info.max:
            return float(raw)
        hint = mark.mend or "write a number greater than zero"
        problems.append(
            problem("wrong-value", f"{raw}: expected more than zero", key=key, hint=hint)
        )
        return MISSING
    if not isinstance(raw, str):
        message = f"expected {mark.what}, found {type_name(raw)}"
        problems.append(problem("wrong-type", message, key=key, hint=mark.mend))
        return MISSING
    try:
        return mark.parse(raw)
    except ValueError as error:
        shown = "this" if mark.quiet else repr(raw if len(raw) <= 60 else raw[:57] + "…")
        message = f"{shown} is not {mark.what}: {error}"
        problems.append(problem("wrong-value", message, key=key, hint=mark.mend))
        return MISSING


def _is_within(number: float, bound: AtLeast) -> bool:
    return number > bound.least if bound.above else number >= bound.least


def _attempt_marked(base: Any, *marks: object) -> Reader:
    text = next((mark for mark in marks if isinstance(mark, Text)), None)
    attempt = functools.partial(_read_text, text) if text else _attempt(base)
    callables = any(isinstance(mark, Callables) for mark in marks)
    bound = next((mark for mark in marks if isinstance(mark, AtLeast)), None)
    if not callables and bound is None:
        return attempt

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        if callables and callable(raw):
            return raw
        if bound and isinstance(raw, int | float) and not _is_within(raw, bound):
            than = "more than" if bound.above else "at least"
            message = f"expected {than} {bound.least:g}, found {raw}"
            hint = f"write a number {than} {bound.least:g}"
            problems.append(problem("wrong-value", message, key=key, hint=hint))
            return MISSING
        return attempt(raw, key, problems)

    return read


def _attempt_union(options: tuple[Any, ...]) -> Reader:
    """The first option that takes the value; exact types first, so that `True` stays a boolean."""
    attempts = {option: _attempt(option) for option in options if option is not type(None)}
    everything = tuple(attempts.values())
    optional = type(None) in options

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        if raw is None and optional:
            return None
        exact = attempts.get(type(raw))
        for attempt in (exact,) if exact else everything:
            found: list[Problem] = []
            value = attempt(raw, key, found)
            if value is not _MISMATCH:
                problems.extend(found)
                return value
        return _MISMATCH

    return read


def _attempt_literal(options: tuple[Any, ...]) -> Reader:
    names = [str(option) for option in options]
    kinds = tuple({str if isinstance(option, str) else type(option) for option in options})

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        # To Python, True and 1.0 are equal to 1.
        alike = isinstance(raw, kinds) and (bool in kinds or not isinstance(raw, bool))
        if alike and raw in options:
            return raw
        if alike:
            message = f"{raw!r} is not one of {', '.join(names)}"
            problems.append(
                problem("unknown-value", message, key=key, hint=nearest(str(raw), names))
            )
            return MISSING
        return _MISMATCH

    return read


def _attempt_tuple(inner: Any) -> Reader:
    item = reader(inner)

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        if not isinstance(raw, list | tuple):
            return _MISMATCH
        items = [item(value, (*key, index), problems) for index, value in enumerate(raw)]
        return MISSING if any(value is MISSING for value in items) else tuple(items)

    return read


def _attempt_mapping(inner: Any) -> Reader:
    item = reader(inner)

    def read(raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
        if not isinstance(raw, Mapping):
            return _MISMATCH
        # The tasks of a recipe share the names of channels: each is kept once.
        pairs = [(sys.intern(str(name)), value) for name, value in raw.items()]
        table = {name: item(value, (*key, name), problems) for name, value in pairs}
        return MISSING if any(value is MISSING for value in table.values()) else table

    return read


def _read_dataclass(kind: type, raw: Any, key: KeyPath, problems: list[Problem]) -> Any:
    if isinstance(raw, kind):
        return raw
    if not isinstance(raw, Mapping):
        refusal: NotText | None = getattr(kind, "not_text", None)
        if refusal is not None and isinstance(raw, str):
            problems.append(problem(refusal.slug, refusal.message, key=key, hint=refusal.mend))
            return MISSING
        short = _short(kind)
        if short is None:
            return _MISMATCH
        value = short.attempt(raw, key, problems)
        return value if value in (_MISMATCH, MISSING) else kind(**{short.attribute: value})
    before = len(problems)
    values = convert_table(raw, fields_of(kind), key, problems)
    return MISSING if len(problems) > before else kind(**values)


@functools.cache
def _short(kind: type) -> Field | None:
    """The field that a plain value in place of a table stands for, if there is one."""
    return next((field for field in fields_of(kind) if shorthand in field.marks), None)


def convert_table(
    raw: Mapping[str, Any], known: tuple[Field, ...], key: KeyPath, problems: list[Problem]
) -> dict[str, Any]:
    """The attributes for `known` fields from a table; unknown and missing keys are problems.

    A value that has problems is left out, so that the rest can still be looked at.
    """
    by_key = {item.key: item for item in known if rest not in item.marks}
    others = next((item for item in known if rest in item.marks), None)
    values: dict[str, Any] = {}
    if others is not None and (more := {k: v for k, v in raw.items() if k not in by_key}):
        raw = {k: v for k, v in raw.items() if k in by_key}
        values |= _read_rest(others, more, key, problems)
    for name, value in raw.items():
        item = by_key.get(name)
        if item is None:
            message = f"unknown key {name!r}"
            problems.append(
                problem("unknown-key", message, key=(*key, name), hint=nearest(str(name), by_key))
            )
        else:
            converted = item.read(value, (*key, name), problems)
            if converted is not MISSING:
                values[item.attribute] = converted
    for item in known:
        if item.required and item.key not in raw:
            hint = f"add {pair(item.key)}: {mend(item.type, _keys_of)}"
            problems.append(problem("missing-key", f"{item.key!r} is missing", key=key, hint=hint))
    return values


def _read_rest(
    others: Field, more: Mapping[Any, Any], key: KeyPath, problems: list[Problem]
) -> dict[str, Any]:
    """The attribute that takes the keys which no other field has; each must be a name."""
    good = True
    for name in more:
        try:
            check_name(str(name) if isinstance(name, str) else "")
        except ValueError as error:
            good = False
            problems.append(
                problem("wrong-value", f"{name!r}: {error}", key=(*key, name), hint=_NAME_MEND)
            )
    converted = others.read(more, key, problems) if good else MISSING
    return {} if converted is MISSING else {others.attribute: converted}


class NotPlain(ValueError):
    """A value of a kind that only Python knows."""


def freeze(raw: Any) -> Any:
    """Plain data with tuples for lists, all the way down.

    Raises ValueError for what has no plain form: dates (write them as text), NaN, infinities,
    text with NUL characters; NotPlain for other objects of Python.
    """
    match raw:
        case list() | tuple():
            return tuple(freeze(item) for item in raw)
        case Mapping():
            return {str(k): freeze(v) for k, v in raw.items()}
        case datetime.date() | datetime.time():
            raise ValueError(f'a date is written as text: "{raw}"')
        case float() if not math.isfinite(raw):
            raise ValueError(f"{raw} is not a finite number")
        case str() if "\0" in raw:
            raise ValueError("text holds a NUL character")
        case None | str() | bool() | int() | float():
            return raw
    raise NotPlain(f"{type_name(raw)} is no plain value")
