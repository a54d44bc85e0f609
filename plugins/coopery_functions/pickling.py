"""Pickles of functions that are the same bytes in every process.

cloudpickle gives a class a random name, by which it is the same class wherever it is met again; a
set goes in the order of its hashes, which every process has its own of; and equal texts are one
object or two as it happens. Here such a name comes from the function's digest and from the order
in which classes are met, sets are sorted, and equal texts are one.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import operator
import pickle
import types
import weakref
from collections.abc import Iterable
from typing import Any

_TRACKED = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5, "_make_typevar": 5}
"""The functions of cloudpickle that make a class anew, and which argument is its random name."""


def dumps(function: types.FunctionType, digest: str) -> bytes:
    """The function's pickle; `digest` is its canonical one. Raises what pickle raises."""
    buffer = io.BytesIO()
    _pickler()(buffer, digest).dump(function)
    return buffer.getvalue()


@functools.cache
def _pickler() -> Any:
    """cloudpickle's pickler, which also takes `functools.lru_cache` (without its entries) and
    `functools.cached_property` (which holds a lock before Python 3.12).

    It stands on pickle's pickler in Python, since the one in C asks nobody about sets and texts.
    """
    import cloudpickle

    theirs = cloudpickle.Pickler

    class Pickler(pickle._Pickler):
        dispatch_table = theirs.dispatch_table
        _function_reduce = theirs._function_reduce
        _dynamic_function_reduce = theirs._dynamic_function_reduce
        _function_getnewargs = theirs._function_getnewargs

        def __init__(self, file: io.BytesIO, digest: str) -> None:
            super().__init__(file, protocol=5)
            self.globals_ref: dict[int, Any] = {}  # which the functions above share
            self._digest = digest
            self._named = 0
            self._same: dict[str | bytes, str | bytes] = {}

        def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
            if type(obj) in (str, bytes):
                obj = self._same.setdefault(obj, obj)
            return super().save(obj, save_persistent_id)  # type: ignore[misc]

        def reducer_override(self, value: Any) -> Any:
            kind = type(value)
            if kind in (set, frozenset):
                return (kind, (self._ordered(value),)) if value else NotImplemented
            if kind is weakref.WeakSet:
                return kind, (self._ordered(value),)
            if isinstance(value, functools._lru_cache_wrapper) and not _importable(value):
                settings = value.cache_parameters()
                cache = functools._lru_cache_wrapper
                size, typed = settings["maxsize"], settings["typed"]
                return cache, (value.__wrapped__, size, typed, functools._CacheInfo)
            if kind is functools.cached_property:
                return kind, (value.func,), {"attrname": value.attrname}
            made = theirs.reducer_override(self, value)
            if made is NotImplemented and kind in self.dispatch_table:
                made = self.dispatch_table[kind](value)
            return self._steady(made) if isinstance(made, tuple) else made

        def _steady(self, made: tuple[Any, ...]) -> tuple[Any, ...]:
            """How something is made anew, without what is random in it."""
            call, arguments, *rest = made
            at = _TRACKED.get(getattr(call, "__name__", ""))
            if at is not None and call.__module__.startswith("cloudpickle"):
                self._named += 1
                text = f"{self._digest} {self._named}"
                name = hashlib.sha256(text.encode()).hexdigest()[:32]
                arguments = (*arguments[:at], name, *arguments[at + 1 :])
            for part in rest[0] if rest and isinstance(rest[0], tuple) else ():
                # Both are lists that cloudpickle has just made.
                if isinstance(part, dict) and isinstance(part.get("_abc_impl"), list):
                    part["_abc_impl"] = self._ordered(part["_abc_impl"])
                if isinstance(part, dict) and "_cloudpickle_submodules" in part:
                    part["_cloudpickle_submodules"].sort(key=lambda module: module.__name__)
            return (call, arguments, *rest)

        def _ordered(self, items: Iterable[Any]) -> list[Any]:
            """In an order that their content gives."""
            found = list(items)
            if len(found) < 2:
                return found
            if all(type(item) is type(found[0]) for item in found) and type(found[0]) in (str, int):
                return sorted(found)
            return sorted(found, key=self._content)

        def _content(self, item: Any) -> bytes:
            buffer = io.BytesIO()
            Pickler(buffer, self._digest).dump(item)
            return buffer.getvalue()

    return Pickler


def _importable(value: Any) -> bool:
    """Whether its name finds it, in a module that does not travel."""
    import cloudpickle

    if value.__module__ in {"__main__", *cloudpickle.list_registry_pickle_by_value()}:
        return False
    try:
        module = importlib.import_module(value.__module__)
        return operator.attrgetter(value.__qualname__)(module) is value
    except (ImportError, AttributeError):
        return False
