"""Code objects read instruction by instruction, without what depends on where a line stands."""

from __future__ import annotations
import __future__

import dis
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

_IGNORED_FLAGS = __future__.annotations.compiler_flag | 0x4000000  # CO_HAS_DOCSTRING since 3.13
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_CONSTANTS = frozenset(dis.opname[op] for op in dis.hasconst)
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})


def instructions(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    """Name and operand of each instruction: constants, names and jump targets spelled out.

    Constants that no instruction loads (docstrings) do not show. A class body's record of its own
    first line (since 3.13) is passed over.
    """
    pending: tuple[str, Any] | None = None
    for item in dis.get_instructions(code):
        current = (item.opname, _operand(item))
        if current == ("STORE_NAME", "__firstlineno__"):
            pending = None
            continue
        if pending is not None:
            yield pending
        pending = current
    if pending is not None:
        yield pending


def _operand(item: dis.Instruction) -> Any:
    value = item.argval
    if item.opname in _CONSTANTS or value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, tuple):
        return tuple(part if isinstance(part, str | int) else str(part) for part in value)
    return str(item.argrepr)


@functools.lru_cache(maxsize=4096)
def global_chains(code: types.CodeType) -> list[tuple[str, ...]]:
    """Every global that is read, with the attributes loaded off it at once; sorted."""
    chains: set[tuple[str, ...]] = set()
    chain: tuple[str, ...] = ()
    for item in dis.get_instructions(code):
        if item.opname in _ATTRIBUTES and chain:
            chain = (*chain, str(item.argval))
            continue
        if chain:
            chains.add(chain)
        chain = (str(item.argval),) if item.opname in _GLOBALS else ()
    if chain:
        chains.add(chain)
    return sorted(chains)


def imports(code: types.CodeType) -> list[str]:
    """The modules that the code imports when it runs."""
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname == "IMPORT_NAME"}
    return sorted(names)


def handlers(code: types.CodeType) -> str:
    """Which instructions are guarded by which handlers (3.11 and later keep it apart)."""
    return getattr(code, "co_exceptiontable", b"").hex()


def signature(code: types.CodeType) -> list[Any]:
    """Arguments by kind and name, and what kind of function it is."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return [
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        list(code.co_varnames[:count]),
        list(code.co_cellvars),
        list(code.co_freevars),
        code.co_flags & ~_IGNORED_FLAGS,
    ]
