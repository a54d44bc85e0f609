"""Recipes written in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from coopery.errors import KeyPath, Place, Problem, RecipeError
from coopery.hooks import hookimpl
from coopery.recipes import Document


@hookimpl
def recipe_names() -> Sequence[str]:
    """`recipe.toml`."""
    return ["recipe.toml"]


@hookimpl(trylast=True)
def load_recipe(path: Path) -> Document | None:
    """A `.toml` file. Raises RecipeError (`invalid-toml`) with line and column."""
    if path.suffix != ".toml":
        return None
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise RecipeError(_invalid(path, line, "the file is not UTF-8")) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_locate_syntax_error(path, text, str(error))) from None

    def locate(key: KeyPath) -> Place:
        from coopery_toml.lines import line_of

        return Place(file=str(path), line=line_of(text, key), key=key)

    return Document(data=data, locate=locate)


def _locate_syntax_error(path: Path, text: str, message: str) -> Problem:
    """tomllib ends its messages with `(at line L, column C)` or `(at end of document)`."""
    import re

    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found is None:
        return _invalid(path, text.count("\n") + 1, message)
    return _invalid(path, int(found[1]), f"{message[: found.start()]}, column {found[2]}")


def _invalid(path: Path, line: int, message: str) -> Problem:
    return Problem(slug="invalid-toml", message=message, place=Place(file=str(path), line=line))
