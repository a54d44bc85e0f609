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
        place = Place(file=str(path), line=line)
        message = "the file is not UTF-8"
        hint = "save it in that encoding"
        found = Problem(slug="invalid-toml", message=message, place=place, hint=hint)
        raise RecipeError(found) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        from coopery.toml_faults import toml_problem

        raise RecipeError(toml_problem(path, text, str(error))) from None

    def locate(key: KeyPath) -> Place:
        from coopery_toml.lines import line_of

        return Place(file=str(path), line=line_of(text, key), key=key)

    return Document(data=data, locate=locate)
