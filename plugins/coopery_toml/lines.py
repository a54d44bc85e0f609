"""Where keys stand in a TOML text that `tomllib` has accepted.

`tomllib` keeps no positions, and they are wanted only when something is wrong, so this scanner
reads the text again: table headers, keys, and the nesting of arrays and inline tables.
"""

from __future__ import annotations

import functools
import tomllib

from coopery.errors import KeyPath


def line_of(text: str, key: KeyPath) -> int | None:
    """The line (from 1) of the key, or of the nearest key above it; None if none is known."""
    lines = scan(text)
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None


@functools.lru_cache(maxsize=4)
def scan(text: str) -> dict[KeyPath, int]:
    """The line of every key, table and array item of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank():
            if self._peek("[["):
                table = self._array_header()
            elif self._peek("["):
                self._move(1)
                table = self._note_all((), self._resolve(self._key()))
                self._move(1)
            else:
                self._pair(table)

    def _array_header(self) -> KeyPath:
        self._move(2)
        key = self._resolve(self._key()[:], last=False)
        self._move(2)
        index = self.arrays.get(key, -1) + 1
        self.arrays[key] = index
        return self._note_all((), (*key, index))

    def _resolve(self, key: KeyPath, last: bool = True) -> KeyPath:
        """A header's key with the current index after each array of tables it passes through."""
        resolved: KeyPath = ()
        for position, part in enumerate(key):
            resolved = (*resolved, part)
            if resolved in self.arrays and (last or position < len(key) - 1):
                resolved = (*resolved, self.arrays[resolved])
        return resolved

    def _pair(self, table: KeyPath) -> None:
        key = self._note_all(table, self._key())
        self._skip_space()
        self._move(1)  # the equals sign
        self._skip_space()
        self._value(key)

    def _note_all(self, table: KeyPath, key: KeyPath) -> KeyPath:
        for part in key:
            table = (*table, part)
            self.lines.setdefault(table, self.line)
        return table

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip_space()
            start = self.at
            if self._peek('"') or self._peek("'"):
                self._string()
                quoted = self.text[start : self.at]
                parts.append(str(tomllib.loads(f"k = {quoted}")["k"]))
            else:
                while self.at < len(self.text) and self.text[self.at] not in " \t.=]\"'":
                    self.at += 1
                parts.append(self.text[start : self.at])
            self._skip_space()
            if not self._peek("."):
                return tuple(parts)
            self._move(1)

    def _value(self, key: KeyPath) -> None:
        if self._peek('"') or self._peek("'"):
            self._string()
        elif self._peek("["):
            self._move(1)
            index = 0
            while self._skip_blank() and not self._peek("]"):
                self.lines.setdefault((*key, index), self.line)
                self._value((*key, index))
                index += 1
                if self._skip_blank() and self._peek(","):
                    self._move(1)
            self._move(1)
        elif self._peek("{"):
            self._move(1)
            while self._skip_blank() and not self._peek("}"):
                self._pair(key)
                if self._skip_blank() and self._peek(","):
                    self._move(1)
            self._move(1)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if long else quote
        self._move(len(end))
        while not self.text.startswith(end, self.at):
            self._move(2 if quote == '"' and self.text[self.at] == "\\" else 1)
        self._move(len(end))
        while long and self._peek(quote):
            self._move(1)  # a long string may end in up to two quotes of its own

    def _peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def _move(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def _skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _skip_blank(self) -> bool:
        """Move past white space, line ends and comments; whether anything is left."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t\r\n":
                self._move(1)
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return True
        return False
