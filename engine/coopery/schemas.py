"""The JSON Schema of recipes, from the same annotations that read them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from coopery import model
from coopery.marks import AtLeast, Callables, Text, rest, shorthand
from coopery.recipes import Facet
from coopery.shapes import Field, fields_of, known_type


def recipe_schema(facets: Sequence[Facet]) -> dict[str, Any]:
    """The JSON Schema of a recipe, with the keys of all plugins."""
    name = {"pattern": r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$"}

    def noun(kind: type, label: str) -> dict[str, Any]:
        own = tuple(f for f in fields_of(kind) if f.attribute not in ("facets", "name"))
        extra = tuple(f.field for f in facets if f.noun == label)
        table = table_schema(own + extra)
        table["description"] = " ".join((kind.__doc__ or "").split())
        return {"type": "object", "propertyNames": name, "additionalProperties": table}

    image, task = noun(model.Image, "image"), noun(model.Task, "task")
    defaults = schema(model.Defaults)
    for table in (task["additionalProperties"], defaults):
        # An image may be described where it is named.
        name_of = table["properties"]["image"]
        table["properties"]["image"] = {"anyOf": [name_of, image["additionalProperties"]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A coopery recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "image": image,
            "task": task,
            "defaults": defaults,
            **{f.key: schema(f.type) for f in facets if f.noun == "recipe"},
        },
    }


def schema(
    hint: Any, extra: Mapping[type, tuple[Field, ...]] | None = None, *, nulls: bool = False
) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `convert` takes for `hint`.

    `extra` adds keys to a dataclass: what plugins' facets allow there. With `nulls`, `X | None`
    takes null, which recipes do not have.
    """
    hint = known_type(hint)
    origin = get_origin(hint)
    if hint is Any:
        return {}
    if origin is Annotated:
        base, *marks = get_args(hint)
        for mark in marks:
            match mark:
                case Text():
                    text: dict[str, Any] = {"type": "string", "pattern": mark.pattern}
                    number = {"type": "number", "exclusiveMinimum": 0}
                    return {"anyOf": [text, number]} if mark.number else text
                case Callables():
                    return {"type": "string"}
                case AtLeast(least=least, above=above):
                    bound = "exclusiveMinimum" if above else "minimum"
                    return {**schema(base, extra, nulls=nulls), bound: least}
        return schema(base, extra, nulls=nulls)
    if origin in (Union, types.UnionType):
        kinds = [arg for arg in get_args(hint) if arg is not type(None)]
        options = [schema(arg, extra, nulls=nulls) for arg in kinds]
        if nulls and len(kinds) < len(get_args(hint)):
            options.append({"type": "null"})
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin is tuple:
        return {"type": "array", "items": schema(get_args(hint)[0], extra, nulls=nulls)}
    if origin is not None and issubclass(origin, Mapping):
        values = schema(get_args(hint)[1], extra, nulls=nulls)
        return {"type": "object", "additionalProperties": values}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        known = fields_of(hint) + (extra or {}).get(hint, ())
        table = table_schema(known, extra, nulls=nulls)
        if hint.__doc__:
            table["description"] = " ".join(hint.__doc__.split("\n\n")[0].split())
        short = next((f for f in known if shorthand in f.marks), None)
        return {"anyOf": [schema(short.type, extra, nulls=nulls), table]} if short else table
    return {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[hint]}


def table_schema(
    known: tuple[Field, ...],
    extra: Mapping[type, tuple[Field, ...]] | None = None,
    *,
    nulls: bool = False,
) -> dict[str, Any]:
    """The JSON Schema of a table with these keys and no others."""
    others = next((schema(f.type, extra, nulls=nulls) for f in known if rest in f.marks), None)
    table: dict[str, Any] = {
        "type": "object",
        "additionalProperties": others["additionalProperties"] if others else False,
        "properties": {
            f.key: {
                **schema(f.type, extra, nulls=nulls),
                **({"description": f.doc} if f.doc else {}),
            }
            for f in known
            if f.attribute != "facets" and rest not in f.marks
        },
    }
    required = [f.key for f in known if f.required]
    return {**table, "required": required} if required else table
