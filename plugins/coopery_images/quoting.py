"""Instructions of a Dockerfile, quoted such that nothing in their arguments is more than text.

A Dockerfile is read line by line, and has no way to write a line break within a quoted word: what
holds one is refused there, and written as an escape where JSON is read. `$` is filled in by the
builder in ENV, LABEL, COPY, USER and WORKDIR, and by nobody in the exec form of RUN, ENTRYPOINT and
CMD. See the Dockerfile reference, sections "Parser directives", "Environment replacement" and
"Here-Documents".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from coopery.images import Instruction

LONGEST = 65_000
"""Bytes of a line: builders refuse those from 65,536 on."""

_PATH = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?", re.ASCII)


class Unquotable(ValueError):
    """A text that no Dockerfile can hold where it is wanted; says why."""


def run(arguments: Sequence[str], caches: Sequence[str] = ()) -> Instruction:
    """RUN in the exec form; `caches` as in Instruction."""
    for folder in caches:
        _matching(_PATH, folder, "a folder to be cached")
    return _made("RUN", _exec(arguments), tuple(caches))


def entry_point(arguments: Sequence[str]) -> Instruction:
    """ENTRYPOINT in the exec form."""
    return _made("ENTRYPOINT", _exec(arguments))


def copy(source: str, target: str) -> Instruction:
    """COPY of a path of the context; both are coopery's own, of plain letters."""
    for path in (source, target):
        _matching(_PATH, path, "a path to be copied")
    return _made("COPY", _json([source, target]))


def env(variables: Mapping[str, str]) -> Instruction:
    """ENV with these variables, sorted."""
    pairs = []
    for name, value in sorted(variables.items()):
        _matching(_VARIABLE, name, "the name of a variable")
        pairs.append(f"{name}={word(value)}")
    return _made("ENV", " ".join(pairs))


def path_begins(folder: str) -> Instruction:
    """ENV that puts a folder before all others where programs are looked for."""
    _matching(_PATH, folder, "a folder of programs")
    return _made("ENV", f'PATH="{folder}:$PATH"')


def label(labels: Mapping[str, str]) -> Instruction:
    """LABEL with these labels, sorted."""
    pairs = []
    for name, value in sorted(labels.items()):
        _matching(_LABEL, name, "the name of a label")
        pairs.append(f"{name}={word(value)}")
    return _made("LABEL", " ".join(pairs))


def user(name: str) -> Instruction:
    """USER, as NAME or UID, with a group after a colon."""
    _matching(_USER, name, "a user")
    return _made("USER", name)


def working_folder(path: str) -> Instruction:
    """WORKDIR; the path is coopery's own, of plain letters."""
    _matching(_PATH, path, "a working folder")
    return _made("WORKDIR", path)


def word(text: str) -> str:
    """A text in double quotes, as ENV and LABEL read it."""
    _check_text(text)
    if "\n" in text or "\r" in text:
        raise Unquotable("it holds a line break, which a Dockerfile cannot write")
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def _exec(arguments: Sequence[str]) -> str:
    if not arguments:
        raise Unquotable("there is no command")
    for argument in arguments:
        _check_text(argument)
    return _json(arguments)


def _json(items: Sequence[str]) -> str:
    """A JSON list in ASCII. `<` is escaped too: two of them may begin a here-document."""
    return json.dumps(list(items), ensure_ascii=True).replace("<", "\\u003c")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Unquotable("it holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Unquotable("it holds what is no character") from None


def _matching(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise Unquotable(f"{text!r} cannot be {what}")


def _made(keyword: str, arguments: str, caches: tuple[str, ...] = ()) -> Instruction:
    if len(arguments.encode("utf-8")) > LONGEST:
        raise Unquotable(f"it is longer than the {LONGEST} bytes that a line may have")
    return Instruction(keyword=keyword, arguments=arguments, caches=caches)
