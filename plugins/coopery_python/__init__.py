"""Recipes written in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coopery.hooks import hookimpl
from coopery.recipes import Document


@hookimpl
def recipe_names() -> Sequence[str]:
    """`recipe.py`."""
    return ["recipe.py"]


@hookimpl(trylast=True)
def load_recipe(path: Path) -> Document | None:
    """A `.py` file, executed. Raises RecipeError (`invalid-python`, `recipe-raised`)."""
    if path.suffix != ".py":
        return None
    from coopery_python.execution import execute

    return execute(path)
