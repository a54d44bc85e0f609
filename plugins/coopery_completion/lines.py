"""A line of bash, cut into words as bash does, whatever its COMP_WORDBREAKS."""

from __future__ import annotations

from dataclasses import dataclass

_SPECIAL = frozenset(" \t\"'\\`$&|;<>()*?!#{}")
_QUOTES = "\"'"
_KEPT = "@$"
"""Breaks that belong to the word after them: bash asks readline to keep them, for the names of
hosts and variables."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The words before the cursor; the last is the one it is in, perhaps in an open `quote`."""

    words: tuple[str, ...]
    quote: str = ""


def split(text: str) -> Line:
    """The words of a line that may end within one."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            # In double quotes a backslash stays where it takes nothing's meaning away.
            kept = "\\" if quote and character not in '"\\$`' else ""
            word = (word or "") + kept + character
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
            word = word or ""
        elif quote:
            if character == quote:
                quote = ""
            else:
                word = (word or "") + character
        elif character in _QUOTES:
            quote = character
            word = word or ""
        elif character.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    return Line(words=(*words, word or ""), quote=quote)


def replacement(candidate: str, line: Line, breaks: str) -> str:
    """What bash must be given for a candidate: it replaces only what follows the last break.

    Within quotes there are no breaks, and nothing needs to be quoted.
    """
    if line.quote:
        return candidate
    word = line.words[-1]
    last = max(word.rfind(character) for character in breaks if character not in _QUOTES)
    cut = last if last >= 0 and word[last] in _KEPT else last + 1
    rest = candidate[cut:] if candidate.startswith(word[:cut]) else candidate
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in rest)
