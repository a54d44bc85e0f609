"""`runs`: the runs that are kept, latest first."""

from __future__ import annotations

import os
from itertools import islice

from coopery.commands import Context, table
from coopery.errors import Problem, RecipeError
from coopery.history import History, recipe_if_any
from coopery.session import open_store
from coopery_inspect import summaries
from coopery_inspect.summaries import Document

HEADER = ("RUN", "STATE", "STARTED", "TOOK", "STEPS", "RECIPE")


def run(context: Context) -> int:
    """List the runs of the recipe; all recipes' with `--all`, or where there is no recipe."""
    arguments = context.arguments
    limit: int = arguments.limit
    if limit < 1:
        message = f"--limit: expected at least 1, found {limit}"
        raise RecipeError(Problem(slug="bad-option", message=message))
    with open_store(context.plugins, context.settings) as store:
        history = History(store, None if arguments.all else recipe_if_any(context))
        found = list(islice(filter(None, map(history.read, history.runs())), limit))
    for error in history.unreadable.values():
        context.tell(f"left out: {error.problems[0].message}")
    context.answer([summaries.summary(document) for document in found], _text(found))
    return 0


def _text(found: list[Document]) -> str:
    rows = [
        (
            document["run"],
            summaries.state(document),
            summaries.moment(document["started"]),
            summaries.took(document, lives=summaries.lives(document)),
            summaries.counted(document),
            _shown(document["recipe"]),
        )
        for document in found
    ]
    return table(rows, HEADER) if rows else "no run is kept"


def _shown(recipe: str) -> str:
    """A recipe below this folder by its relative path, another by its whole one."""
    relative = os.path.relpath(recipe)
    return recipe if relative.startswith("..") else relative
