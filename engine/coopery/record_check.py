"""Whether a run's record is one: a damaged record is told of once, here, and not by its readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from coopery import record_schema
from coopery.errors import MachineError, problem

Check = Callable[[Any], str | None]
"""None for a value that is as it should be, else the path of what is not: `.steps[3].kind`."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def check(run: str, document: Mapping[str, Any]) -> None:
    """Raises MachineError (`run-damaged`, `run-format`) for what is no record as published."""
    version = document.get("schema")
    if isinstance(version, int) and version != record_schema.SCHEMA:
        message = (
            f"the record of run {run} has format {version}, "
            f"and this coopery reads format {record_schema.SCHEMA}"
        )
        hint = (
            "read it with the coopery that wrote it; what the run made is remembered all the same"
        )
        raise MachineError(problem("run-format", message, hint=hint))
    fault = _whole()(document)
    if fault is not None:
        raise damaged(run, f"{fault.lstrip('.')} is not as it should be")


def damaged(run: str, why: str) -> MachineError:
    """The error for a record that cannot be read."""
    hint = (
        "the record cannot be mended (coopery cache verify --repair sets it aside); "
        "what the run made is remembered all the same"
    )
    message = f"the record of run {run} is damaged: {why}"
    return MachineError(problem("run-damaged", message, hint=hint))


@cache
def _whole() -> Check:
    return checker(record_schema.schema())


def checker(schema: Mapping[str, Any] | bool) -> Check:
    """A function that checks values against a schema of the few keywords that records use."""
    if isinstance(schema, bool):
        return lambda value: None if schema else ""
    checks = [make(schema) for keyword, make in _KEYWORDS.items() if keyword in schema]
    if len(checks) == 1:
        return checks[0]

    def every(value: Any) -> str | None:
        for each in checks:
            fault = each(value)
            if fault is not None:
                return fault
        return None

    return every


def _type(schema: Mapping[str, Any]) -> Check:
    named = schema["type"]
    names = [named] if isinstance(named, str) else named
    kinds = frozenset(kind for name in names for kind in _TYPES[name])
    # By the very type: True is no number.
    return lambda value: None if type(value) in kinds else ""


def _enum(schema: Mapping[str, Any]) -> Check:
    values = [(type(value), value) for value in schema["enum"]]
    return lambda value: None if (type(value), value) in values else ""


def _const(schema: Mapping[str, Any]) -> Check:
    return _enum({"enum": [schema["const"]]})


def _minimum(schema: Mapping[str, Any]) -> Check:
    return lambda value: None if value >= schema["minimum"] else ""


def _date_time(schema: Mapping[str, Any]) -> Check:
    def check(value: str) -> str | None:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return ""
        return None

    return check


def _required(schema: Mapping[str, Any]) -> Check:
    names = frozenset(schema["required"])

    def check(value: Mapping[str, Any]) -> str | None:
        if names <= value.keys():
            return None
        return f".{min(names - value.keys())}"

    return check


def _properties(schema: Mapping[str, Any]) -> Check:
    checks = [(name, checker(each)) for name, each in schema["properties"].items()]

    def check(value: Mapping[str, Any]) -> str | None:
        for name, each in checks:
            if name in value:
                fault = each(value[name])
                if fault is not None:
                    return f".{name}{fault}"
        return None

    return check


def _additional(schema: Mapping[str, Any]) -> Check:
    each = checker(schema["additionalProperties"])

    def check(value: Mapping[str, Any]) -> str | None:
        for name, item in value.items():
            fault = each(item)
            if fault is not None:
                return f".{name}{fault}"
        return None

    return check


def _items(schema: Mapping[str, Any]) -> Check:
    each = checker(schema["items"])

    def check(value: list[Any]) -> str | None:
        for number, item in enumerate(value):
            fault = each(item)
            if fault is not None:
                return f"[{number}]{fault}"
        return None

    return check


def _any_of(schema: Mapping[str, Any]) -> Check:
    checks = [checker(each) for each in schema["anyOf"]]

    def check(value: Any) -> str | None:
        faults = [each(value) for each in reversed(checks)]  # null is the last, and quick
        return None if None in faults else max(filter(None, faults), key=len, default="")

    return check


def _if(schema: Mapping[str, Any]) -> Check:
    condition, then, other = (checker(schema.get(key, True)) for key in ("if", "then", "else"))
    return lambda value: (then if condition(value) is None else other)(value)


_KEYWORDS: Mapping[str, Callable[[Mapping[str, Any]], Check]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _minimum,
    "format": _date_time,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "if": _if,
}
"""In the order in which they are checked: those of a type after the type."""
