"""A Dockerfile read as the reference says, written for the tests: nothing of coopery is used here.

It knows what an attack would want: parser directives, comments, continued lines, here-documents,
the JSON forms with their fallback to a shell, quoted words, and variables that are filled in.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field


@dataclass
class Image:
    """What a Dockerfile makes of an image."""

    instructions: list[tuple[str, object]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def read(text: str, env: dict[str, str]) -> Image:
    """The instructions of a Dockerfile, in order, with what `env` of the base fills in."""
    image = Image(env=dict(env))
    lines = text.split("\n")
    if re.match(r"\s*#\s*[A-Za-z][A-Za-z0-9]*\s*=", lines[0]):
        raise AssertionError(f"a parser directive: {lines[0]!r}")
    number = 0
    while number < len(lines):
        line = lines[number].removesuffix("\r")
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        while re.search(r"\\[ \t]*$", line):
            line = re.sub(r"\\[ \t]*$", "", line) + lines[number]
            number += 1
        keyword, _, rest = line.strip().partition(" ")
        keyword = keyword.upper()
        if keyword in ("RUN", "COPY", "ADD"):
            for name in heredocs(rest):
                raise AssertionError(f"a here-document {name!r} in {line!r}")
        match keyword:
            case "ENV" | "LABEL":
                for name, value in pairs(rest):
                    filled = fill(value, image.env)
                    (image.env if keyword == "ENV" else image.labels)[fill(name, image.env)] = (
                        filled
                    )
                    image.instructions.append((keyword, (name, filled)))
            case "RUN" | "ENTRYPOINT" | "CMD":
                while rest.startswith("--"):
                    rest = rest.partition(" ")[2]
                image.instructions.append((keyword, as_json(rest) or rest))
            case "COPY":
                paths = as_json(rest)
                assert paths is not None, rest
                image.instructions.append((keyword, [fill(path, image.env) for path in paths]))
            case _:
                image.instructions.append((keyword, fill(rest, image.env)))
    return image


def as_json(text: str) -> list[str] | None:
    """The exec form; None where a builder would take it for a shell's."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    good = isinstance(found, list) and all(isinstance(item, str) for item in found)
    return found if good else None


def heredocs(text: str) -> list[str]:
    """Here-documents that BuildKit would look for: words that begin so, outside of quotes."""
    return [w for w in words(text, keep=True) if re.match(r"\d*<<-?[^<]*$", w)]


def words(text: str, *, keep: bool = False) -> list[str]:
    """Text cut at white space outside of quotes; the quotes stay."""
    found, word, quote, index = [], "", "", 0
    while index < len(text):
        char = text[index]
        if char == "\\" and quote != "'" and index + 1 < len(text):
            word += text[index : index + 2]
            index += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            if word:
                found.append(word)
            word, index = "", index + 1
            continue
        word += char
        index += 1
    assert keep or not quote, f"an open quote in {text!r}"
    return [*found, word] if word else found


def pairs(text: str) -> list[tuple[str, str]]:
    """NAME=VALUE words; a first word without `=` would be the old form, which takes all."""
    found = []
    for word in words(text):
        name, equals, value = word.partition("=")
        assert equals, f"{word!r} has no value in {text!r}"
        found.append((name, value))
    return found


def fill(text: str, env: dict[str, str]) -> str:
    """A word with quotes removed and variables filled in."""
    found, quote, index = "", "", 0
    while index < len(text):
        char, after = text[index], text[index + 1 : index + 2]
        if quote == "'":
            quote, found = ("", found) if char == "'" else (quote, found + char)
        elif char == "\\" and after:
            found += after if not quote or after in '"$\\' else char + after
            index += 1
        elif char == '"' or (char == "'" and not quote):
            quote = "" if quote else char
        elif char == "$" and (name := re.match(r"\{?([A-Za-z0-9_]+)[^}]*\}?", text[index + 1 :])):
            plain = re.match(r"[A-Za-z0-9_]+", text[index + 1 :])
            taken = plain or name
            found += env.get(name[1], "")
            index += taken.end()
        else:
            found += char
        index += 1
    return found
