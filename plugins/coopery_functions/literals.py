"""Credentials in what travels with a function: in its code, its defaults and what it captures."""

from __future__ import annotations

import ast
import functools
import linecache
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from coopery.credentials import kind_of, may_name
from coopery_functions import bytecode
from coopery_functions.canonical import Walker
from coopery_functions.reach import Reach


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A text that looks like a credential. Without `line` it is in no source: it was captured."""

    kind: str
    file: str
    line: int | None
    text: str = field(repr=False)


@functools.lru_cache(maxsize=1024)
def suspects(function: types.FunctionType, reach: Reach) -> tuple[Suspect, ...]:
    """Every text that travels with the function and looks like a credential, in its order.

    For functions that can be sent (see `payload.by_value`).
    """
    seeker = _Seeker(reach)
    seeker.form(function)
    named = [text for code in seeker.codes for text in _named_in(code)]
    found: dict[str, Suspect] = {}
    for name, text in (*named, *seeker.texts):
        kind = None if text in found else kind_of(text, name)
        if kind:
            file, line = _position(text, seeker) or (function.__code__.co_filename, None)
            found[text] = Suspect(kind=kind, file=file, line=line, text=text)
    return tuple(found.values())


class _Seeker(Walker):
    """Goes where the digest goes, and gathers the texts with the names that they have."""

    def __init__(self, reach: Reach) -> None:
        super().__init__(reach)
        self.texts: dict[tuple[str, str], None] = {}
        self.codes: dict[types.CodeType, None] = {}

    def scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            self.texts[self._name(), value] = None
        elif isinstance(value, bytes):
            self.texts[self._name(), value.decode("latin-1")] = None

    def _name(self) -> str:
        """Of the variable, attribute or item that is being walked."""
        step, _, name = self.trail[-1].partition(" ") if self.trail else ("", "", "")
        return name.rpartition(".")[2] if step in ("variable", "attribute", "field", "item") else ""

    def container(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return super().container(value)
        for key, item in value.items():
            self.form(key)
            with self.at(f"item {key}" if isinstance(key, str) else "item"):
                self.form(item)
        return None

    def apart(self, value: object) -> str:
        self.form(value)
        return ""

    def function(self, function: types.FunctionType) -> Any:
        form = super().function(function)
        if "function" in form:  # it travels, and is met for the first time
            code = function.__code__
            values = function.__defaults__ or ()
            last = code.co_argcount
            names = code.co_varnames[last - len(values) : last]
            pairs = (*zip(names, values, strict=True), *(function.__kwdefaults__ or {}).items())
            self.texts.update({(name, v): None for name, v in pairs if isinstance(v, str)})
        return form

    def code(self, code: types.CodeType, scope: dict[str, Any]) -> Any:
        """All constants, docstrings too, and the globals that are read."""
        self.codes[code] = None
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant, scope)
            else:
                self.texts.update((("", text), None) for text in _constants(constant))
        for chain in bytecode.global_chains(code):
            with self.at(f"variable {_variable(chain, scope)}"):
                self.variable(chain, scope)


def _constants(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, tuple | frozenset):
        for part in value:
            yield from _constants(part)


def _variable(chain: tuple[str, ...], scope: dict[str, Any]) -> str:
    """The name of what is read, through modules: of `settings.PASSWORD` the latter."""
    name, value = chain[0], scope.get(chain[0])
    for following in chain[1:]:
        if not isinstance(value, types.ModuleType):
            break
        name, value = following, getattr(value, following, None)
    return name


class _Source:
    """A source file, parsed when it is asked: most functions hold no suspicious name."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in it; nothing when it is not what the code was made of."""
        try:
            return list(ast.walk(ast.parse("".join(self.lines))))
        except SyntaxError:
            return []

    @functools.cached_property
    def functions(self) -> dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef]:
        """The functions by first line and name, as code objects have them."""
        return {
            (min(item.lineno for item in (node, *node.decorator_list)), node.name): node
            for node in self.nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @functools.cached_property
    def literals(self) -> dict[str, int]:
        """Where each literal stands first."""
        found: dict[str, int] = {}
        for node in self.nodes:
            if isinstance(node, ast.Constant) and (text := _text(node)) is not None:
                found[text] = min(node.lineno, found.get(text, node.lineno))
        return found


_sources: dict[str, _Source] = {}


def _source(file: str) -> _Source:
    """Read once, as long as linecache, which a notebook fills too, has the same lines for it."""
    lines = linecache.getlines(file)
    known = _sources.get(file)
    if known is None or known.lines is not lines:
        known = _sources[file] = _Source(lines)
    return known


def _position(text: str, seeker: _Seeker) -> tuple[str, int] | None:
    """File and line where the text stands as a literal: in the code that travels, or beside it."""
    files = {code.co_filename: None for code in seeker.codes}
    modules = (getattr(module, "__file__", None) for module in seeker.reach.modules())
    for file in (*files, *(file for file in modules if file)):
        line = _source(file).literals.get(text)
        if line is not None:
            return file, line
    return None


def _text(node: ast.AST | None) -> str | None:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, bytes):
            return node.value.decode("latin-1")
    return None


def _named_in(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """Literals with their names in a function's body; nothing where its source is not known."""
    source = _source(code.co_filename)
    lines = source.lines[code.co_firstlineno - 1 : _last_line(code)]
    if not may_name("".join(lines)):
        return
    function = source.functions.get((code.co_firstlineno, code.co_name))
    for statement in function.body if function else ():
        for node in ast.walk(statement):
            for name, value in _pairs(node):
                text = _text(value)
                if name and text is not None:
                    yield name, text


def _last_line(code: types.CodeType) -> int:
    inner = (_last_line(c) for c in code.co_consts if isinstance(c, types.CodeType))
    own = (line for _, _, line in code.co_lines() if line is not None)
    return max(code.co_firstlineno, *own, *inner)


def _pairs(node: ast.AST) -> Iterator[tuple[str | None, ast.expr | None]]:
    """Names with the expressions they are given: assignments, arguments, tables, fallbacks."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _assigned(target, value)
        case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield _name(target), value
        case ast.keyword(arg=argument, value=value):
            yield argument, value
        case ast.Dict(keys=keys, values=values):
            yield from ((_text(key), value) for key, value in zip(keys, values, strict=True))
        case ast.arguments(posonlyargs=first, args=rest, kwonlyargs=named):
            by_place = [*first, *rest][len(first) + len(rest) - len(node.defaults) :]
            yield from ((a.arg, v) for a, v in zip(by_place, node.defaults, strict=True))
            yield from ((a.arg, v) for a, v in zip(named, node.kw_defaults, strict=True))
        case ast.Call(func=ast.Attribute(attr=attribute), args=[name, value]):
            if attribute in ("get", "getenv", "setdefault", "setenv"):
                yield _text(name), value


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str | None, ast.expr]]:
    match target, value:
        case ast.Tuple(elts=names), ast.Tuple(elts=values) if len(names) == len(values):
            yield from ((_name(n), v) for n, v in zip(names, values, strict=True))
        case _:
            yield _name(target), value


def _name(target: ast.expr) -> str | None:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return str(name)
        case ast.Subscript(slice=index):
            return _text(index)
    return None
