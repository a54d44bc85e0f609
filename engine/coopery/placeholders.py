"""Placeholders such as `{inputs.raw}` inside parsed strings; `{{` and `}}` are braces."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{group.name}`."""

    group: str
    name: str

    def __str__(self) -> str:
        return f"{{{self.group}.{self.name}}}"


Template = tuple[str | Placeholder, ...]
"""A string cut at its placeholders."""


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Template:
    """Cut `text` at its placeholders. Raises ValueError for a brace that opens none.

    Remembered, because the tasks of a recipe mostly say the same.
    """
    if "{" not in text and "}}" not in text:
        return (text,) if text else ()
    parts: list[str | Placeholder] = []
    plain = ""
    end = 0
    for match in _TOKEN.finditer(text):
        plain += text[end : match.start()]
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            plain += token[0]
            continue
        group, dot, name = (match.group(1) or "").partition(".")
        if not dot or not group or not name:
            raise ValueError(f"{token!r} is not a placeholder; write {{{{ for a brace")
        if plain:
            parts.append(plain)
        parts.append(Placeholder(group, name))
        plain = ""
    plain += text[end:]
    if plain:
        parts.append(plain)
    return tuple(parts)


def fill(template: Template, values: Mapping[str, Mapping[str, str]]) -> Template:
    """The template with every placeholder filled whose group is in `values`.

    Raises KeyError(placeholder) for a name that its group does not have.
    """
    parts: list[str | Placeholder] = []
    for part in template:
        if isinstance(part, Placeholder) and part.group in values:
            if part.name not in values[part.group]:
                raise KeyError(part)
            part = values[part.group][part.name]
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)


def unparse(template: Template) -> str:
    """The text that parses to this template."""
    return "".join(
        part.replace("{", "{{").replace("}", "}}") if isinstance(part, str) else str(part)
        for part in template
    )


def render(template: Template, values: Mapping[str, Mapping[str, str]]) -> str:
    """The text with every placeholder filled. Raises KeyError(placeholder) where one is unknown."""
    text = ""
    for part in template:
        if isinstance(part, str):
            text += part
        elif part.name in values.get(part.group, {}):
            text += values[part.group][part.name]
        else:
            raise KeyError(part)
    return text
