"""The two documents as values: read, filled in, and checked, with all that is wrong at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from coopery import shapes
from coopery.errors import KeyPath, Problem, RecipeError, nearest, problem
from coopery.masking import keep_out
from coopery.quantities import parse_quantity
from coopery.wording import JSON, speaking
from coopery_taskapi import text
from coopery_taskapi.models import CARDS, ProcessingContainer, Task
from coopery_taskapi.paths import check_mounted, misfit
from coopery_taskapi.templating import Filled, Variables, fill
from coopery_taskapi.text import Text

D = TypeVar("D", ProcessingContainer, Task)


@dataclass(frozen=True, kw_only=True)
class Read(Generic[D]):
    """A document that was found good, where it is from, and which variables stood at its keys."""

    document: D
    text: Text
    names: Mapping[KeyPath, tuple[str, ...]]
    warnings: tuple[Problem, ...] = ()


def kind_of(data: Any) -> type[ProcessingContainer] | type[Task] | None:
    """Which of the two a document is, by what only one of them has; None for neither."""
    if not isinstance(data, Mapping):
        return None
    if "templates" in data:
        return ProcessingContainer
    if "taskTemplate" in data or "image" in data:
        return Task
    return None


def custom_of(sets: Sequence[str]) -> dict[str, str]:
    """The custom variables that `--set custom.NAME=VALUE` gives; values are text as they stand.

    Raises RecipeError (`bad-set`).
    """
    custom: dict[str, str] = {}
    problems = []
    for given in sets:
        target, equals, value = given.partition("=")
        space, _, name = target.partition(".")
        if equals and space == "custom" and name.isidentifier() and name.isascii():
            custom[name] = value
            continue
        where = f"--set {target[:80]}"
        hint = "write --set custom.NAME=VALUE; the document has it as {{ custom.NAME }}"
        problems.append(problem("bad-set", "not understood", file=where, hint=hint))
    if problems:
        raise RecipeError(*problems)
    return custom


def read_task(path: Path, shown: str, sets: Sequence[str] = ()) -> Read[Task]:
    """A `task.json`. Raises RecipeError with all that is wrong in it."""
    return check(text.read_file(path, shown), Task, custom_of(sets))


def read_container(path: Path, shown: str, sets: Sequence[str] = ()) -> Read[ProcessingContainer]:
    """A `processing-container.json`. Raises RecipeError with all that is wrong in it."""
    return check(text.read_file(path, shown), ProcessingContainer, custom_of(sets))


def check(source: Text, kind: type[D], custom: Mapping[str, str] | None) -> Read[D]:
    """A document of this kind, filled in and checked. Raises RecipeError with all that is wrong.

    Without `custom` variables nothing is filled in: what others wrote, in their images, must not
    name variables of this machine's environment, and so take secrets into their containers.
    """
    filled: Filled = Filled(data=source.data, names={})
    if custom is not None:
        filled = fill(source.data, Variables(env=os.environ, custom=custom))
    problems: list[Problem] = [*source.problems, *filled.problems]
    data = filled.data
    _withhold(data)
    with speaking(JSON):
        document = shapes.convert(data, kind, (), problems)
        found = (_check_container if kind is ProcessingContainer else _check_task)(data)
        problems += [p for p in found if p not in problems]
    unfilled = {p.place.key for p in filled.problems}
    # What could not be filled in is told as that, and not as a wrong path or number besides.
    problems = [p for p in problems if p in filled.problems or p.place.key not in unfilled]
    if problems:
        raise RecipeError(*sorted((located(p, source) for p in problems), key=_position))
    warnings = tuple(located(p, source) for p in _warnings(filled))
    return Read(document=document, text=source, names=filled.names, warnings=warnings)


def located(found: Problem, source: Text) -> Problem:
    """The problem with the document's file and line."""
    return found if found.place.file else replace(found, place=source.place(found.place.key))


def _position(found: Problem) -> tuple[int, list[tuple[bool, int, str]]]:
    parts = [(isinstance(p, str), p if isinstance(p, int) else 0, str(p)) for p in found.place.key]
    return found.place.line or 0, parts


def _withhold(data: Any) -> None:
    """A password that a document holds is shown nowhere, whatever else is wrong."""
    config = data.get("config") if isinstance(data, Mapping) else None
    if isinstance(config, Mapping):
        password = config.get("registryPassword")
        if isinstance(password, str) and password:
            keep_out(password)


def _warnings(filled: Filled) -> Iterator[Problem]:
    config = filled.data.get("config")
    key: KeyPath = ("config", "registryPassword")
    if config and config.get("registryPassword") and key not in filled.names:
        hint = (
            "leave it out, log in with `docker login`, or write {{ env.NAME }}; what stands in a "
            "file is read by all who can read it"
        )
        message = "a registry's password stands in the document"
        yield replace(problem("password-as-text", message, key=key, hint=hint), warning=True)


def _tables(data: Any, name: str, key: KeyPath = ()) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """The objects of a list of a document that may be wrong in any way, with their keys."""
    listed = data.get(name) if isinstance(data, Mapping) else None
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, Mapping):
            yield (*key, name, index), item


def _check_container(data: Any) -> Iterator[Problem]:
    """What concerns several values of a specification at once."""
    if isinstance(data, Mapping) and data.get("templates") == []:
        hint = "write at least one template"
        yield problem("no-template", "there is no template", key=("templates",), hint=hint)
    yield from _unique(data, "templates", "identifier", "template")
    for key, template in _tables(data, "templates"):
        yield from _check_template(template, key)


def _check_template(template: Any, key: KeyPath) -> Iterator[Problem]:
    yield from _unique(template, "env", "name", "variable", key)
    for where, variable in _tables(template, "env", key):
        yield from _check_default(variable, where)
    for side in ("inputs", "outputs"):
        yield from _unique(template, side, "name", "channel", key)
    yield from _check_mounts(template, key)
    yield from _check_cards(template, key)


def _check_cards(data: Any, key: KeyPath = ()) -> Iterator[Problem]:
    """Of cards there are only whole ones."""
    resources = data.get("resources")
    for kind in ("requests", "limits"):
        amounts = resources.get(kind) if isinstance(resources, Mapping) else None
        for name in CARDS if isinstance(amounts, Mapping) else ():
            assert amounts is not None
            try:
                wrong = parse_quantity(str(amounts.get(name, 0))) % 1
            except (ValueError, OverflowError):
                continue  # it is told as no quantity
            if wrong:
                message = f"{amounts[name]!r} is not a whole number: there are only whole cards"
                where: KeyPath = (*key, "resources", kind, name)
                yield problem("wrong-value", message, key=where, hint="write a whole number")


def _check_mounts(template: Any, key: KeyPath) -> Iterator[Problem]:
    """No two channels have one place in the container, nor one inside another's."""
    places: dict[str, KeyPath] = {}
    for where, path in _mounted(template, key):
        for other in places:
            if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
                message = f"the channels at {other} and {path} are in each other's way"
                hint = "give each channel a folder of its own"
                yield problem("bad-mount", message, key=where, hint=hint)
                break
        places.setdefault(path, where)


def _mounted(template: Any, key: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for side in ("inputs", "outputs"):
        for where, item in _tables(template, side, key):
            try:
                yield (*where, "mounted_path"), check_mounted(str(item.get("mounted_path")))
            except ValueError:
                continue  # it is missing or wrong, and told as that


def _check_default(variable: Mapping[str, Any], key: KeyPath) -> Iterator[Problem]:
    value, choices, kind = variable.get("value"), variable.get("choices"), variable.get("type")
    if not isinstance(value, str):
        return
    listed = [c for c in choices if isinstance(c, str)] if isinstance(choices, list) else []
    for index, choice in enumerate(choices if isinstance(choices, list) else ()):
        if isinstance(choice, str) and (wrong := misfit(choice, _text_or_none(kind))):
            where: KeyPath = (*key, "choices", index)
            yield _misfit(choice, wrong, kind, where)
    # An empty list restricts nothing (row K1).
    if listed and value not in listed:
        message = f"the default {value!r} is not one of the choices"
        yield problem("not-a-choice", message, key=(*key, "value"), hint=nearest(value, listed))
    elif wrong := misfit(value, _text_or_none(kind)):
        yield _misfit(value, wrong, kind, (*key, "value"))


def _misfit(value: str, wrong: str, kind: Any, key: KeyPath) -> Problem:
    hint = "write it so, or change the `type`"
    return problem("wrong-value", f"{value!r} is not of type {kind}: {wrong}", key=key, hint=hint)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _check_task(data: Any) -> Iterator[Problem]:
    """What concerns several values of a task at once."""
    yield from _unique(data, "env", "name", "variable")
    for side in ("inputs", "outputs"):
        yield from _unique(data, side, "name", "channel")
    if isinstance(data, Mapping) and isinstance(data.get("taskTemplate"), Mapping):
        yield from _check_template(data["taskTemplate"], ("taskTemplate",))
    if isinstance(data, Mapping):
        yield from _check_cards(data)


def _unique(data: Any, name: str, field: str, noun: str, key: KeyPath = ()) -> Iterator[Problem]:
    """Of a list's objects, each has another name."""
    seen: Counter[str] = Counter()
    for where, item in _tables(data, name, key):
        value = item.get(field)
        if not isinstance(value, str):
            continue
        if seen[value]:
            message = f"there are two {noun}s {value!r}"
            hint = "give one of them another name, or take it out"
            yield problem("duplicate-name", message, key=(*where, field), hint=hint)
        seen[value] += 1
