"""Names and paths that no file system of this kind can hold, told before anything is asked of it.

The limits are Linux's: NAME_MAX and PATH_MAX of `limits.h`, in bytes of UTF-8.
"""

from __future__ import annotations

import os

from coopery.errors import KeyPath, Problem, problem

NAME_BYTES = 255
"""The most that one part of a path may have."""
PATH_BYTES = 4095
"""The most that a whole path may have (PATH_MAX counts the NUL at its end)."""


def misfit(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be, for being too long; None where it can."""
    text = os.fspath(path)
    if len(text) * 4 <= NAME_BYTES:
        return None  # no character takes more than four bytes
    size = len(os.fsencode(text))
    if size > NAME_BYTES:
        longest = max(text.split("/"), key=lambda part: len(os.fsencode(part)))
        own = len(os.fsencode(longest))
        if own > NAME_BYTES:
            return f"the name {shorten(longest)!r} has {own} bytes, and may have {NAME_BYTES}"
    if size > PATH_BYTES:
        return f"the path {shorten(text)!r} has {size} bytes, and may have {PATH_BYTES}"
    return None


def too_long(path: str | os.PathLike[str], key: KeyPath = ()) -> Problem | None:
    """The problem with a path that is too long (`name-too-long`); None where it is not."""
    found = misfit(path)
    return problem("name-too-long", found, key=key, hint="shorten it") if found else None


def shorten(text: str, most: int = 40) -> str:
    """A long text by its beginning, so that a message stays readable."""
    return text if len(text) <= most else f"{text[:most]}…"
