"""What pictures are made of: runs that are kept, and the ends of their logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import CooperyError, Problem, RecipeError, nearest, visible

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.steps import Store

DEPTH = 200
"""How many runs back the latest of a recipe is searched for."""
LINES, BYTES = 40, 8 * 1024
"""How much of a log's end is shown."""
_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]")


def find_run(context: Context, store: Store, given: str | None) -> Mapping[str, Any]:
    """The record of the run that is named, else of the recipe's latest, else of the latest of all.

    A beginning of an id that only one run has will do. Raises RecipeError (`unknown-run`,
    `no-runs`), MachineError (`run-damaged`).
    """
    from coopery import recipes
    from coopery.records import read_run

    if given is None:
        file: Path | None
        try:
            file = recipes.find(Path.cwd(), context.arguments.file, context.plugins.recipe_names())
        except RecipeError:
            if context.arguments.file is not None:
                raise
            file = None  # outside any project, the latest of all is meant
        return latest_run(store, file)
    known = store.runs()
    found = [given] if given in known else [run for run in known if given and run.startswith(given)]
    if len(found) == 1:
        return read_run(store, found[0])
    if found:
        message, hint = f"{len(found)} runs begin with {given!r}", f"the latest is {found[0]}"
    else:
        message = f"there is no run {given!r}"
        hint = nearest(given, known[:100]) or "nothing was run yet: coopery run"
    raise RecipeError(Problem(slug="unknown-run", message=message, hint=hint))


def latest_run(store: Store, file: Path | None) -> Mapping[str, Any]:
    """The record of a recipe's latest run; without a recipe, of the latest of all.

    Raises RecipeError (`no-runs`).
    """
    from coopery.records import read_run

    for run in islice(store.runs(), DEPTH):
        try:
            record = read_run(store, run)
        except CooperyError as error:
            if any(p.slug not in ("unknown-run", "run-damaged") for p in error.problems):
                raise
            continue  # removed by another process meanwhile, or damaged: an older one will do
        if file is None or record["recipe"] == str(file):
            return record
    message = f"no run of {file.name if file else 'any recipe'} is kept"
    raise RecipeError(Problem(slug="no-runs", message=message, hint="start one: coopery run"))


def log_end(step: Mapping[str, Any]) -> str:
    """The last lines of a step's log, without colours, control characters written out.

    Empty when there are none; the log of an older run may not be kept any more.
    """
    if not step.get("log"):
        return ""
    try:
        with Path(step["log"]).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - BYTES))
            text = file.read(BYTES).decode("utf-8", "replace")
    except OSError:
        return "(its log cannot be read any more)"
    lines = _COLOURS.sub("", text).splitlines()
    cut = size > BYTES or len(lines) > LINES
    lines = [visible(line) for line in lines[-LINES:]]
    return "\n".join(["…", *lines] if cut and lines else lines)


def seconds(entry: Mapping[str, Any]) -> float | None:
    """How long a run or step took; None when it did not run, or has not ended."""
    if not entry.get("started") or not entry.get("ended"):
        return None
    span = datetime.fromisoformat(entry["ended"]) - datetime.fromisoformat(entry["started"])
    return max(0.0, span.total_seconds())
