"""What kinds of values are called in messages: in the words of recipes, or in those of JSON."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from coopery.marks import Callables, Text


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of one language: for what is `expected` or found, and how it is written (`how`).

    `pair` is a key with a value to come.
    """

    nothing: str
    text: str
    table: str
    listing: str
    text_how: str
    table_how: str
    listing_how: str
    pair: str
    keys_how: str
    """A table with the keys it may have."""


RECIPE = Words(
    nothing="nothing",
    text="text",
    table="a table",
    listing="a list",
    text_how='text in quotes: "…"',
    table_how="a table: {{ NAME = … }}",
    listing_how="a list in brackets: […]",
    pair="{} = …",
    keys_how="a table: {{ {} }}",
)
JSON = Words(
    nothing="null",
    text="a string",
    table="an object",
    listing="an array",
    text_how='a string: "…"',
    table_how='an object: {{ "NAME": … }}',
    listing_how="an array: […]",
    pair='"{}": …',
    keys_how="an object: {{ {} }}",
)

_spoken: ContextVar[Words] = ContextVar("spoken", default=RECIPE)


@contextmanager
def speaking(words: Words) -> Iterator[None]:
    """Messages use these words while this lasts, in this thread."""
    token = _spoken.set(words)
    try:
        yield
    finally:
        _spoken.reset(token)


def spoken() -> Words:
    """The words that messages use now."""
    return _spoken.get()


def pair(key: str) -> str:
    """A key with a value to come, as it is written."""
    return _spoken.get().pair.format(key)


def type_name(value: object) -> str:
    """What a value is, with its article."""
    words = _spoken.get()
    names = {str: words.text, bool: "a boolean", int: "a whole number", float: "a number"}
    if value is None:
        return words.nothing
    if isinstance(value, Mapping):
        return words.table
    if isinstance(value, list | tuple):
        return words.listing
    name = type(value).__name__
    return names.get(type(value), f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}")


def expected(hint: Any) -> str:
    """What values of a type are called."""
    words = _spoken.get()
    origin = get_origin(hint)
    if origin is Annotated:
        for mark in get_args(hint)[1:]:
            if isinstance(mark, Text):
                return mark.what
            if isinstance(mark, Callables):
                return "a function"
        return expected(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        wanted = [expected(arg) for arg in get_args(hint) if arg is not type(None)]
        return " or ".join(dict.fromkeys(wanted))
    if origin is Literal:
        return " or ".join(repr(arg) for arg in get_args(hint))
    if origin is tuple:
        return words.listing
    if (origin is not None and issubclass(origin, Mapping)) or dataclasses.is_dataclass(hint):
        return words.table
    simple = {str: words.text, bool: "a boolean", int: "a whole number", float: "a number"}
    return simple.get(hint, "a value")


def mend(hint: Any, keys_of: Callable[[type], Sequence[str]]) -> str:
    """How a value of a type is written; `keys_of` tells the keys of a dataclass."""
    words = _spoken.get()
    origin = get_origin(hint)
    if origin is Annotated:
        marks = get_args(hint)[1:]
        if any(isinstance(mark, Callables) for mark in marks):
            return 'a function, or "module:function"'
        return mend(get_args(hint)[0], keys_of)
    if origin in (Union, types.UnionType):
        ways = [mend(arg, keys_of) for arg in get_args(hint) if arg is not type(None)]
        return ", or ".join(dict.fromkeys(ways))
    if origin is Literal:
        return " or ".join(json.dumps(arg) for arg in get_args(hint))
    if origin is tuple:
        return words.listing_how
    if origin is not None and issubclass(origin, Mapping):
        return words.table_how.format()
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return words.keys_how.format(", ".join(pair(key) for key in keys_of(hint)))
    simple = {bool: "true or false", int: "a whole number: 3", float: "a number: 0.5"}
    return simple.get(hint, words.text_how)
