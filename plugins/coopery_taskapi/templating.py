"""`{{ env.NAME }}` and `{{ custom.NAME }}` in the texts of a document, filled in after it is read.

So a value can hold quotes and line breaks: it is text, and never a part of the document's
structure. There is no other expression: no attributes, calls, filters or statements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coopery.credentials import kind_of
from coopery.errors import KeyPath, Problem, nearest, problem
from coopery.masking import keep_out

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}|(\{\{|\{%|\{#)", re.DOTALL)
_NAME = re.compile(r"\s*(env|custom)\.([A-Za-z_][A-Za-z0-9_]*)\s*")
_WAYS = "write {{ env.NAME }} or {{ custom.NAME }}"
_LITERAL = "; braces themselves are the value of a custom variable: --set custom.braces='{{'"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A document with all its texts filled in. `names` are the variables that stood at a key."""

    data: Any
    names: Mapping[KeyPath, tuple[str, ...]]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Variables:
    """What may stand in a text: the environment of coopery (`env`), and what `--set custom.NAME=…`
    gives (`custom`).
    """

    env: Mapping[str, str] = field(repr=False)
    custom: Mapping[str, str] = field(default_factory=dict, repr=False)


def fill(data: Any, variables: Variables) -> Filled:
    """A document with its texts filled in. What is wrong is told, all at once, and left as it is.

    Problems: `undefined-variable`, `bad-expression`. Keys are never filled in.
    """
    names: dict[KeyPath, tuple[str, ...]] = {}
    problems: list[Problem] = []

    def walk(value: Any, key: KeyPath) -> Any:
        match value:
            case str():
                return _filled(value, key, variables, names, problems)
            case list():
                return [walk(inner, (*key, index)) for index, inner in enumerate(value)]
            case dict():
                return {name: walk(inner, (*key, name)) for name, inner in value.items()}
        return value

    return Filled(data=walk(data, ()), names=names, problems=tuple(problems))


def _filled(
    text: str,
    key: KeyPath,
    variables: Variables,
    names: dict[KeyPath, tuple[str, ...]],
    problems: list[Problem],
) -> str:
    if "{" not in text:
        return text
    used: list[str] = []

    def value_of(found: re.Match[str]) -> str:
        if found[2] is not None:
            what = "is never closed" if found[2] == "{{" else "is no expression of this format"
            problems.append(
                problem("bad-expression", f"{found[2]!r} {what}", key=key, hint=_WAYS + _LITERAL)
            )
            return found[0]
        named = _NAME.fullmatch(found[1])
        if named is None:
            message = f"{_short(found[0])} is not understood{_reason(found[1])}"
            problems.append(problem("bad-expression", message, key=key, hint=_WAYS + _LITERAL))
            return found[0]
        space, name = named[1], named[2]
        known = variables.env if space == "env" else variables.custom
        if name not in known:
            problems.append(_undefined(space, name, known, key))
            return found[0]
        used.append(f"{space}.{name}")
        value = known[name]
        if kind_of(value, name):
            keep_out(value)
        return value

    filled = _EXPRESSION.sub(value_of, text)
    if used:
        names[key] = tuple(dict.fromkeys(used))
    return filled


def _undefined(space: str, name: str, known: Mapping[str, str], key: KeyPath) -> Problem:
    near = nearest(name, known) or ""
    near = f"; {near}" if near.startswith("did you mean") else ""
    if space == "env":
        message = f"the environment has no variable {name}"
        hint = f"export {name}=… before the call{near}"
    else:
        message = f"there is no custom variable {name}"
        hint = f"give it a value: --set custom.{name}=…{near}"
    return problem("undefined-variable", message, key=key, hint=hint)


def _reason(inner: str) -> str:
    bare = inner.strip()
    if re.fullmatch(r"(env|custom)(\.\w+){2,}", bare):
        return ": variables are text and have no attributes"
    if "|" in bare:
        return ": there are no filters"
    if re.fullmatch(r"[A-Za-z_]\w*(\..*)?", bare) and not bare.startswith(("env.", "custom.")):
        return ": there is `env` and `custom`"
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"
