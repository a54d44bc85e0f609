"""The canonical digest of a function: of the code it reaches, its defaults and what it captured.

Equal in every process, checkout and home; blind to comments, line numbers, file names, docstrings
and annotations (semantics 18, seed row Q9). Values become JSON data whose types stay apart.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import functools
import json
import sys
import types
from pathlib import Path, PurePath
from typing import Any, ParamSpec, TypeVar

from coopery.digests import digest_bytes
from coopery_functions import bytecode
from coopery_functions.reach import Reach
from coopery_functions.walking import Walk

VERSION = 1
"""Raise it when the same function would get another digest."""


def function_digest(function: types.FunctionType, reach: Reach) -> str:
    """The sha256 (hex) of the function's canonical form. Raises NoForm."""
    walker = Walker(reach)
    try:
        form = [VERSION, walker.form(function)]
    except RecursionError:
        raise walker.refuse("is nested too deeply") from None
    return digest_bytes(_encode(form))


def _encode(form: Any) -> bytes:
    text = json.dumps(form, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


_DERIVED = """
__dict__ __weakref__ __module__ __qualname__ __doc__ __annotations__ __annotate__ __annotate_func__
__annotations_cache__ __firstlineno__ __static_attributes__ __abstractmethods__ _abc_impl
__parameters__ __orig_bases__ __dataclass_fields__ __dataclass_params__ __classcell__
__classdictcell__ _member_map_ _member_names_ _value2member_map_ _member_type_ _value_repr_
_unhashable_values_ _hashable_values_ _new_member_ _use_args_ __new_member__ _generate_next_value_
"""
_GENERATED = frozenset(_DERIVED.split())
"""Attributes of classes that follow from the rest, or do not matter to a result."""


class Walker(Walk):
    """The forms of all kinds of values."""

    def form(self, value: Any) -> Any:
        """The JSON data that stands for a value."""
        match value:
            case enum.Enum():
                return {"member": value.name, "of": self.form(type(value))}
            case None | bool() if type(value) in (bool, type(None)):
                return value
            case int() | str() | float() | bytes() | complex() if type(value) in _SCALARS:
                return self.scalar(value)
            case types.FunctionType():
                return self.function(value)
            case type():
                return self.kind(value)
            case types.ModuleType():
                return self.module(value)
            case types.CodeType():
                return self.code(value, {})
            case PurePath():
                self.portable(str(value))
                return {"path": value.as_posix(), "is": type(value).__name__}
        if type(value) in _CONTAINERS:
            with self.opened(value) as cycle:
                return cycle or self.container(value)
        return self.callable_form(value)

    def scalar(self, value: Any) -> Any:
        match value:
            case str():
                self.portable(value)
                return value
            case int():
                return value if abs(value) < 2**53 else {"int": hex(value)}
            case float():
                return {"float": value.hex()}
            case bytes():
                return {"bytes": value.hex()}
        return {"complex": [value.real.hex(), value.imag.hex()]}

    def container(self, value: Any) -> Any:
        match value:
            case list() | tuple():
                return {type(value).__name__: [self.form(item) for item in value]}
            case dict():  # in its order, which a function may depend on
                return {"dict": [[self.form(k), self.form(v)] for k, v in value.items()]}
        # The order of a set differs from process to process: its items are walked apart.
        return {type(value).__name__: sorted(self.apart(item) for item in value)}

    def apart(self, value: object) -> str:
        """A value's form as text, by a walk of its own."""
        walker = Walker(self.reach)
        walker.trail = list(self.trail)
        return _encode(walker.form(value)).decode("utf-8", "surrogatepass")

    def function(self, function: types.FunctionType) -> Any:
        """By name where the environment provides it, else its code and all that it captured."""
        if name := self.named(function):
            return name
        if (number := self.numbered(function)) is not None:
            return {"met": number}
        with self.at(f"function {function.__qualname__}"):
            cells = {}
            names = function.__code__.co_freevars
            for name, cell in zip(names, function.__closure__ or (), strict=True):
                with self.at(f"variable {name}"):
                    cells[name] = self.cell(cell)
            with self.at("defaults"):
                defaults = [self.form(value) for value in function.__defaults__ or ()]
                keywords = function.__kwdefaults__ or {}
                named = {name: self.form(keywords[name]) for name in sorted(keywords)}
            with self.at("attributes"):
                extra = {k: v for k, v in function.__dict__.items() if k != "__wrapped__"}
                attributes = {name: self.form(extra[name]) for name in sorted(extra)}
            return {
                "function": self.code(function.__code__, function.__globals__),
                "doc": function.__doc__ if "__doc__" in function.__code__.co_names else None,
                "cells": cells,
                "defaults": defaults,
                "keywords": named,
                "attributes": attributes,
            }

    def cell(self, cell: types.CellType) -> Any:
        try:
            return self.form(cell.cell_contents)
        except ValueError:
            return {"empty": True}

    def code(self, code: types.CodeType, scope: dict[str, Any]) -> Any:
        """The instructions with their operands spelled out, and the globals they read."""
        instructions = []
        for name, operand in bytecode.instructions(code):
            is_code = isinstance(operand, types.CodeType)
            value = self.code(operand, scope) if is_code else self.form(operand)
            instructions.append([name, value])
        used = {}
        for chain in bytecode.global_chains(code):
            with self.at(f"variable {chain[0]}"):
                used[".".join(chain)] = self.variable(chain, scope)
        for name in bytecode.imports(code):
            self.imported(name)
        return {
            "code": instructions,
            "globals": used,
            "handlers": bytecode.handlers(code),
            "signature": bytecode.signature(code),
        }

    def variable(self, chain: tuple[str, ...], scope: dict[str, Any]) -> Any:
        """A global, and the attributes that are read off it as long as it is a module."""
        name, *attributes = chain
        if name == "__file__" and name in scope:
            raise self.refuse(
                "is the path of the recipe's own file, which is not there when the task runs",
                "project-path",
                "declare the file it leads to as an input of the task",
            )
        if name == "__name__":
            return {"own": name}
        if name not in scope:
            return {"builtin": name} if hasattr(builtins, name) else {"unbound": name}
        value = scope[name]
        while attributes and isinstance(value, types.ModuleType) and self.reach.holds(value):
            if not hasattr(value, attributes[0]):
                return {"unbound": attributes[0]}
            value = getattr(value, attributes.pop(0))
        return self.form(value)

    def imported(self, name: str) -> None:
        """An import inside a function finds nothing of what lies beside the recipe."""
        top = name.partition(".")[0]
        known = sys.modules.get(name) or sys.modules.get(top)
        if known is None:
            folder = Path(self.reach.root)
            there = (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()
            beside = there and not self.reach.projects
        else:
            beside = self.reach.holds(known)
        if beside:
            raise self.refuse(
                f"imports {name}, which lies beside the recipe, inside its body",
                "import-inside",
                "import it at the top of the file, so that it travels with the function",
            )

    def module(self, module: types.ModuleType) -> Any:
        """By name; one that travels by all that it defines."""
        if not self.reach.holds(module):
            return {"module": module.__name__}
        if (number := self.numbered(module)) is not None:
            return {"met": number}
        found = {}
        for name in sorted(vars(module)):
            if name.startswith("__") and name.endswith("__"):
                continue
            with self.at(f"variable {module.__name__}.{name}"):
                found[name] = self.form(vars(module)[name])
        return {"module": found}

    def kind(self, kind: type) -> Any:
        """By name where the environment provides it, else its bases and what it defines."""
        if name := self.named(kind):
            return name
        if (number := self.numbered(kind)) is not None:
            return {"met": number}
        with self.at(f"class {kind.__qualname__}"):
            fields = getattr(kind, "__dataclass_fields__", {})
            own = {
                name: value
                for name, value in vars(kind).items()
                if name not in _GENERATED and not _written_by_library(kind, name, value)
            }
            if issubclass(kind, enum.Enum):
                members: Any = [[name, self.form(m.value)] for name, m in kind.__members__.items()]
                own = {n: v for n, v in own.items() if n not in kind.__members__}
            else:
                members = None
            attributes = {}
            for name in sorted(own):
                with self.at(f"attribute {name}"):
                    attributes[name] = self.form(own[name])
            return {
                "class": kind.__name__,
                "bases": [self.form(base) for base in kind.__bases__],
                "metaclass": self.form(type(kind)),
                "members": members,
                "fields": [self.field(field) for field in fields.values()],
                "options": repr(vars(kind).get("__dataclass_params__")),
                "attributes": attributes,
            }

    def field(self, field: dataclasses.Field[Any]) -> Any:
        with self.at(f"field {field.name}"):
            missing = dataclasses.MISSING
            default = None if field.default is missing else [self.form(field.default)]
            factory: Any = field.default_factory
            made = None if factory is missing else [self.form(factory)]
            marks = [field.init, field.repr, field.hash, field.compare, field.kw_only]
            metadata = self.form(dict(field.metadata))
            return [field.name, default, made, marks, metadata]

    def callable_form(self, value: Any) -> Any:
        """Methods, descriptors, caches; anything else by what its pickle would say."""
        if name := self.named(value) or self.bound_in_module(value):
            return name
        match value:
            case TypeVar() | ParamSpec():
                return {"type variable": value.__name__}
            case types.MethodType():
                return {"method": self.form(value.__func__), "of": self.form(value.__self__)}
            case staticmethod() | classmethod():
                return {type(value).__name__: self.form(value.__func__)}
            case property():
                return {"property": [self.form(f) for f in (value.fget, value.fset, value.fdel)]}
            case functools.cached_property():
                return {"cached_property": self.form(value.func)}
            case types.MemberDescriptorType() | types.GetSetDescriptorType():
                return {"slot": value.__name__}
            case types.MappingProxyType():
                return {"proxy": self.form(dict(value))}
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(value, functools._lru_cache_wrapper):
            settings = value.cache_parameters()
            return {"cache": self.form(wrapped), "settings": self.form(settings)}
        with self.opened(value) as cycle:
            return cycle or self.reduced(value)

    def reduced(self, value: Any) -> Any:
        """An object as the call and the state that would make it anew."""
        import copyreg

        reducer = copyreg.dispatch_table.get(type(value))
        try:
            made = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception as error:
            raise self.refuse(f"is a {_kind_name(value)}: {error}") from None
        if isinstance(made, str):
            module = getattr(value, "__module__", None)
            if module is None or self.reach.travels(module):
                raise self.refuse(f"is a {_kind_name(value)}")
            return {"name": f"{module}:{made}"}
        call, arguments, *rest = made
        state, items, pairs = (*rest, None, None, None)[:3]
        if isinstance(state, dict):
            state = dict(sorted(state.items(), key=lambda item: str(item[0])))
        return {
            "object": self.form(call),
            "arguments": self.form(tuple(arguments)),
            "state": self.form(state),
            "items": [self.form(item) for item in items or ()],
            "pairs": [[self.form(k), self.form(v)] for k, v in pairs or ()],
        }


_SCALARS = (int, str, float, bytes, complex)
_CONTAINERS = (list, tuple, dict, set, frozenset)


def _kind_name(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _written_by_library(kind: type, name: str, value: object) -> bool:
    """Methods that dataclasses and named tuples generate: they follow from the fields."""
    if not {"__dataclass_fields__", "_field_defaults"} & vars(kind).keys():
        return False
    if not (name in _METHODS_MADE or (name.startswith("__") and name.endswith("__"))):
        return False
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return isinstance(code, types.CodeType) and code.co_filename.startswith(_LIBRARY_FILES)


_METHODS_MADE = frozenset({"_make", "_replace", "_asdict"})
_LIBRARY_FILES = ("<string>", "<frozen", collections.__file__, dataclasses.__file__)
