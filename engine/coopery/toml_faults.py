"""Where a text that is no TOML begins to be wrong, and how to mend it.

`tomllib` tells where it gave up, which for an array or a text that is not closed is the next
statement, or the end of the file. What was left open is looked for again, and only then.
"""

from __future__ import annotations

import re
from pathlib import Path

from coopery.errors import Place, Problem

_GAVE_UP = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_STATEMENT = re.compile(
    r"""\s*(?: \[\[? \s* [A-Za-z_] [\w.\s"'-]* \]\]? \s* (?:\#.*)? $ | [\w."'-]+ \s* = )""",
    re.VERBOSE,
)
"""A line that begins a table or gives a key: no item of an array looks like it."""
_MENDS = {
    "Invalid value": "a value is text in quotes, a number, true or false, […] or { KEY = … }",
    "Unclosed array": "put a comma between its items, or close it with ]",
    "Unclosed inline table": "close it with } on the same line, or write it as [TABLE]",
    "Invalid initial character": "a key is letters, digits, - and _, or text in quotes",
    "Expected '='": "write KEY = VALUE",
    "Cannot": "each key and each table is given once: put them together, or take one out",
    "Unescaped '\\'": "write \\\\, or put the text into single quotes",
    "Illegal character": "close the text in its line, or write it in three quotation marks",
}


def toml_problem(file: Path, text: str, error: str) -> Problem:
    """The problem (`invalid-toml`) that tomllib's `error` about `text` amounts to."""
    found = _GAVE_UP.search(error)
    message = error[: found.start()] if found else error
    lines = text.split("\n")
    line, end = None, len(text)
    if found and found[1]:
        line = int(found[1])
        end = sum(len(above) + 1 for above in lines[: line - 1]) + int(found[2]) - 1
    scan = _Scan(text, end)
    if found and scan.open:
        mark, begun = scan.open[0]
        quoted = mark[0] in "\"'"
        beyond = line is None or (line > begun and bool(_STATEMENT.match(lines[line - 1])))
        if quoted or beyond:
            what = "text" if quoted else "array" if mark == "[" else "inline table"
            close = mark if quoted else {"[": "]", "{": "}"}[mark]
            return _at(file, begun, f"this {what} is not closed", f"end it with {close}")
    mend = next((said for start, said in _MENDS.items() if message.startswith(start)), None)
    if line in scan.ends:
        mend = f"the text that begins in line {scan.ends[line]} ends here: should it end before?"
    last = text.rstrip().count("\n") + 1
    shown = f"{message}, column {found[2]}" if found and line else message
    return _at(file, line or last, shown, mend or "mend what stands here, or just before")


def _at(file: Path, line: int, message: str, hint: str) -> Problem:
    place = Place(file=str(file), line=line)
    return Problem(slug="invalid-toml", message=message, place=place, hint=hint)


class _Scan:
    """What is open at a position: brackets and quotation marks, each with its line."""

    def __init__(self, text: str, end: int) -> None:
        self.open: list[tuple[str, int]] = []
        self.ends: dict[int | None, int] = {}
        """The lines in which texts of several lines end, with those in which they begin."""
        at, line = 0, 1
        while at < min(end, len(text)):
            char = text[at]
            following = at + 1
            if char in "\"'":
                following = self._string(text, at, line)
                if self.open and self.open[0][0][0] in "\"'":
                    return
            elif char == "#" or (char == "[" and not self.open and _first(text, at)):
                following = _line_end(text, at)
            elif char in "[{":
                self.open.append((char, line))
            elif char in "]}" and self.open:
                self.open.pop()
            line += text.count("\n", at, following)
            at = following

    def _string(self, text: str, at: int, line: int) -> int:
        """The position after a text; one that is not closed is all that counts as open."""
        quote = text[at]
        mark = quote * 3 if text.startswith(quote * 3, at) else quote
        body = at + len(mark)
        limit = len(text) if len(mark) == 3 else _line_end(text, at)
        while body < limit:
            if text.startswith(mark, body):
                end = body + len(mark)
                if over := text.count("\n", at, end):
                    self.ends[line + over] = line
                return end
            body += 2 if quote == '"' and text[body] == "\\" else 1
        self.open = [(mark, line)]
        return limit


def _first(text: str, at: int) -> bool:
    """Whether nothing but white space stands before a position in its line."""
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found
