"""`status`: what runs now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coopery.commands import Context, table
from coopery.history import History, find_run, recipe_if_any
from coopery.session import open_store
from coopery_inspect import summaries
from coopery_inspect.summaries import Document


def run(context: Context) -> int:
    """Tell of the recipe's runs under way and what runs and waits, else of the latest run's end.

    A run that is named is told of, whatever its state. Raises RecipeError (`unknown-run`).
    """
    with open_store(context.plugins, context.settings) as store:
        history = History(store, recipe_if_any(context))
        given = context.arguments.run
        if given is not None:
            found = history.read_or_raise(find_run(store, given, history.file))
            living = [found] if summaries.lives(found) else []
            latest = None if living else found
        else:
            living = list(history.living())
            latest = None
            if not living:
                latest = next(filter(None, map(history.read, history.runs())), None)
    document = {
        "running": [_document(found) for found in living],
        "latest": summaries.summary(latest) if latest else None,
    }
    context.answer(document, _text(living, latest, named=given is not None))
    return 0


def _running(document: Document) -> list[Document]:
    return [step for step in document["steps"] if step["state"] == "running"]


def _waiting(document: Document) -> list[Document]:
    return [step for step in document["steps"] if "waiting" in step]


def _document(document: Document) -> dict[str, Any]:
    steps = [
        {
            "step": step["step"],
            "started": step["started"],
            "seconds": summaries.seconds(step, lives=True),
        }
        for step in _running(document)
    ]
    waiting = [{"step": step["step"], "for": step["waiting"]} for step in _waiting(document)]
    return {**summaries.summary(document), "steps": steps, "waiting": waiting}


def _text(living: Sequence[Document], latest: Document | None, *, named: bool) -> str:
    if living:
        return "\n\n".join(map(_under_way, living))
    if latest is None:
        return "nothing is running, and no run is kept"
    end = (
        f"{summaries.state(latest)}, began {summaries.moment(latest['started'])}, "
        f"took {summaries.took(latest)}: {summaries.counted(latest)}"
    )
    if named:
        return f"run {latest['run']}: {end}"
    return f"nothing is running\nlatest run {latest['run']}: {end}"


def _under_way(document: Document) -> str:
    head = (
        f"run {document['run']}: running for {summaries.took(document, lives=True)}, "
        f"{summaries.counted(document)}\n  {document['recipe']}"
    )
    rows = [(f"  {s['step']}", summaries.took(s, lives=True)) for s in _running(document)]
    rows += [(f"  {s['step']}", f"waiting: {s['waiting']}") for s in _waiting(document)]
    return f"{head}\n{table(rows)}" if rows else head
