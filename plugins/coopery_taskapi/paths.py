"""What the formats hold as text: paths, patterns and what variables stand for, each checked."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import Annotated

from coopery.marks import Text

_LONGEST = 4096
"""Bytes of a path, as Linux has it (PATH_MAX)."""


def _plain(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST} bytes")
    return text


def check_mounted(text: str) -> str:
    """A path in a container, without a slash at its end. Raises ValueError."""
    path = _plain(text).rstrip("/")
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError("expected an absolute path")
    if not path:
        raise ValueError("it would hide all that is in the image")
    if ".." in PurePosixPath(path).parts or posixpath.normpath(path) != path:
        raise ValueError("expected a plain path, without `.`, `..` and doubled slashes")
    if not path.isprintable():
        raise ValueError("it holds a line break or another control character")
    return path


def check_host(text: str) -> str:
    """A path of this machine, absolute. Raises ValueError."""
    if not _plain(text).startswith("/"):
        raise ValueError("expected an absolute path")
    return posixpath.normpath("/" + text.lstrip("/"))


def check_within(text: str) -> str:
    """A folder within a channel, `.` for the channel itself. Raises ValueError."""
    if not text:
        return "."
    if _plain(text).startswith("/"):
        raise ValueError("expected a path relative to the channel")
    if ".." in PurePosixPath(text).parts:
        raise ValueError("it leaves the channel")
    return posixpath.normpath(text)


def check_glob(text: str) -> str:
    """A pattern for paths, as `pathlib` takes it. Raises ValueError."""
    if _plain(text).startswith("/"):
        raise ValueError("expected a pattern relative to `target_dir`")
    parts = PurePosixPath(text).parts
    if ".." in parts:
        raise ValueError("it leaves the channel")
    if not parts:
        raise ValueError("it matches nothing")
    for part in parts:
        if "**" in part and part != "**":
            raise ValueError("`**` stands for whole folders: write `**/` before a name")
        opened = part.find("[")
        if opened >= 0 and "]" not in part[opened + 2 :]:
            raise ValueError("`[` is never closed; a bracket itself is written `[[]`")
    return text


def check_regex(text: str) -> str:
    """A regular expression. Raises ValueError."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text


MountedPath = Annotated[
    str,
    Text(
        check_mounted,
        pattern=r"^/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",
        what="a path in a container",
        mend="write an absolute path such as /data/in",
    ),
]
HostPath = Annotated[
    str,
    Text(
        check_host,
        pattern=r"^/",
        what="a path of this machine",
        mend="write an absolute path, such as /data/in or {{ env.HOME }}/in",
    ),
]
Within = Annotated[
    str,
    Text(
        check_within,
        pattern=r"^(?!/)(?!(.*/)?\.\.(/|$))",
        what="a folder within the channel",
        mend="write a path relative to the channel, without `..`",
    ),
]
Glob = Annotated[
    str,
    Text(
        check_glob,
        pattern=r"^(?!/)(?!(.*/)?\.\.(/|$)).",
        what="a glob",
        mend="write a pattern such as *.txt",
    ),
]
Regex = Annotated[
    str,
    Text(
        check_regex,
        pattern="",
        what="a regular expression",
        mend=r"write one such as .*\.txt; in JSON, a backslash is doubled",
    ),
]


def misfit(text: str, kind: str | None) -> str | None:
    """Why a variable's text does not stand for what its type says; None where it does."""
    match kind:
        case "int" | "integer":
            good = re.fullmatch(r"[+-]?[0-9]+", text)
            return None if good else "expected a whole number"
        case "float" | "number":
            good = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)
            return None if good else "expected a number"
        case "bool" | "boolean":
            known = ("true", "false", "1", "0", "yes", "no", "on", "off")
            return None if text.lower() in known else "expected true or false"
        case "path":
            return None if text and "\0" not in text else "expected a path"
    return None
