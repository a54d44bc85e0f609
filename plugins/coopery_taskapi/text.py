"""JSON documents as people write them: what they hold, and on which line each thing stands."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from coopery.errors import KeyPath, Place, Problem, RecipeError

LARGEST = 8 << 20
"""Bytes of a document: a specification has a few thousand."""
_DEEPEST = 60
"""How many lists and objects may be within each other."""
_DIGITS = 30
"""Digits of a whole number; what is larger no amount or factor has."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, kw_only=True)
class Text:
    """A JSON document: its `data`, and where it is from. `lines` has the line (from 1) of each key
    and item.
    """

    data: Any
    file: str
    lines: dict[KeyPath, int]
    problems: tuple[Problem, ...] = ()

    def place(self, key: KeyPath) -> Place:
        """Where a key stands; of one that is missing, what it would stand in."""
        near = key
        while near and near not in self.lines:
            near = near[:-1]
        return Place(file=self.file, line=self.lines.get(near, 1), key=key, pointer=True)


def begins_object(path: Path) -> bool:
    """Whether a file begins as a JSON object does. What cannot be read does not."""
    try:
        with path.open("rb") as stream:
            return stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    except OSError:
        return False


def read_file(path: Path, shown: str) -> Text:
    """A document in a file, called as `shown` in messages. Raises RecipeError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        place = Place(file=shown)
        hint = "name a file that is there and can be read"
        message = f"the file cannot be read: {error.strerror}"
        raise RecipeError(
            Problem(slug="unreadable", message=message, place=place, hint=hint)
        ) from None
    return read(content, shown)


def read(content: bytes, shown: str) -> Text:
    """A document in these bytes.

    Raises RecipeError (`invalid-json`, with line and column; `unreadable` for one of over 8 MB).
    Keys that are given twice are problems of it: of two values one would be dropped.
    """
    if len(content) > LARGEST:
        hint = "name a processing-container.json or a task.json"
        message = f"the file has more than {LARGEST >> 20} MB"
        place = Place(file=shown)
        raise RecipeError(Problem(slug="unreadable", message=message, place=place, hint=hint))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _refuse(shown, line, "the file is not UTF-8", "save it in that encoding")
    try:
        data = json.loads(
            text, parse_constant=_no_constant, parse_int=_integer, parse_float=_number
        )
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: {error.msg}"
        _refuse(shown, error.lineno, message, _mend(text, error.pos))
    except RecursionError:
        _too_deep(shown, 1)
    except ValueError as error:  # a constant, or a number of thousands of digits
        _refuse(shown, 1, f"a number cannot be read: {error}", "write a number such as 25 or 0.5")
    lines, problems = _scan(text, shown)
    return Text(data=data, file=shown, lines=lines, problems=tuple(problems))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"it has more than {_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _refuse(shown: str, line: int, message: str, hint: str) -> NoReturn:
    place = Place(file=shown, line=line)
    raise RecipeError(
        Problem(slug="invalid-json", message=message, place=place, hint=hint)
    ) from None


def _too_deep(shown: str, line: int) -> NoReturn:
    message = f"more than {_DEEPEST} lists and objects are within each other"
    _refuse(shown, line, message, "no document of this format is that deep")


def _mend(text: str, at: int) -> str:
    """What is most often wrong where a document cannot be read on."""
    if not text.strip():
        return "the file is empty: write an object, { … }"
    before, here = text[:at].rstrip(), text[at : at + 1]
    if before.endswith(",") and here in "}]":
        return "take out the comma before it"
    if here == "'":
        return 'JSON has double quotes: "…"'
    if here == "/" or here == "#":
        return "JSON has no comments: take it out"
    if at >= len(text.rstrip()):
        return "the file ends before it is complete: close what is open"
    if before.endswith(('"', "}", "]")):
        return "put a comma, or a colon, before it"
    return 'write objects {"key": value}, arrays […], strings "…", numbers, true, false or null'


def _scan(text: str, shown: str) -> tuple[dict[KeyPath, int], list[Problem]]:
    """The line of each key and item of a text that is JSON, and the keys that are given twice."""
    lines: dict[KeyPath, int] = {(): 1}
    problems: list[Problem] = []
    # Of each object and array that is open: the key of what comes in it.
    path: list[str | int | None] = []
    in_object: list[bool] = []
    expects_key = False
    for token, line in _tokens(text):
        match token:
            case "{" | "[":
                if len(path) == _DEEPEST:
                    _too_deep(shown, line)
                _note(lines, path, line)
                in_object.append(token == "{")
                path.append(None if token == "{" else 0)
                expects_key = token == "{"
            case "}" | "]":
                in_object.pop()
                path.pop()
                expects_key = False
            case ",":
                expects_key = in_object[-1]
                if not expects_key:
                    last = path[-1]
                    assert isinstance(last, int)
                    path[-1] = last + 1
            case ":":
                expects_key = False
            case _ if expects_key:
                path[-1] = json.loads(token)
                key = _key(path)
                problems += _check_text(token, shown, line, key)
                if key in lines:
                    place = Place(file=shown, line=line, key=key, pointer=True)
                    first = f"it is on line {lines[key]} already"
                    message = f"the key {path[-1]!r} is given twice: {first}"
                    hint = "keep one of them"
                    problems.append(
                        Problem(slug="duplicate-key", message=message, place=place, hint=hint)
                    )
                lines.setdefault(key, line)
            case _:
                _note(lines, path, line)
                problems += _check_text(token, shown, line, _key(path))
    return lines, problems


def _check_text(token: str, shown: str, line: int, key: KeyPath) -> Iterator[Problem]:
    """Half of a character, which JSON can write and no file, process or name can have."""
    if "\\u" in token and re.search("[\ud800-\udfff]", json.loads(token)):
        place = Place(file=shown, line=line, key=key, pointer=True)
        message = "text holds half of a surrogate pair, which is no character"
        hint = "write the character itself, or both halves"
        yield Problem(slug="wrong-value", message=message, place=place, hint=hint)


def _note(lines: dict[KeyPath, int], path: list[str | int | None], line: int) -> None:
    """An item of an array stands where it begins; a value of an object where its key stands."""
    if path and isinstance(path[-1], int):
        lines.setdefault(_key(path), line)


def _key(path: list[str | int | None]) -> KeyPath:
    return tuple(part for part in path if part is not None)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, before = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", before, found.start())
        before = found.start()
        yield found[0], line
