"""`status`: what runs now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coopery.commands import Context, table
from coopery.exit_codes import shell_code
from coopery.history import History
from coopery.quantities import show_bytes
from coopery.run_files import meant
from coopery_inspect import summaries
from coopery_inspect.summaries import Document


def run(context: Context) -> int:
    """Tell of the recipe's runs under way and what runs and waits, else of the latest run's end.

    A run that is named is told of, whatever its state. Raises RecipeError (`unknown-run`).
    """
    given = context.arguments.run
    with meant(context, given) as named:
        if given is not None:
            found = named.read()
            living = [found] if summaries.lives(found) else []
            latest = None if living else found
        else:
            history = History(named.living_store, named.recipe)
            living = list(history.living())
            latest = None
            if not living:
                latest = next(filter(None, map(history.read, history.runs())), None)
    document = {
        "running": [_document(found) for found in living],
        "latest": {**summaries.summary(latest), "task": _task(latest)} if latest else None,
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
    told = {"task": _task(document), "steps": steps, "waiting": waiting}
    return {**summaries.summary(document), **told}


def _task(document: Document) -> dict[str, Any] | None:
    """How the only task of a run ended, or is; None where there are several."""
    tasks = [step for step in document["steps"] if step["kind"] == "task"]
    if len(tasks) != 1:
        return None
    (task,) = tasks
    facts = {} if task["cached"] else task["facts"]
    return {
        "step": task["step"],
        "state": task["state"],
        "cached": task["cached"],
        "exit_code": 0 if task["cached"] else shell_code(facts.get("exit_code")),
        "peak_memory": facts.get("peak_memory"),
        "reason": task["reason"],
        "problems": task["problems"],
    }


def _of_task(document: Document) -> str:
    """How the only task of a run ended, where that says more than the counts: a line, or none."""
    task = _task(document)
    if task is None or task["state"] in ("pending", "running"):
        return ""
    slugs = [problem["slug"] for problem in task["problems"]]
    words = ["cached" if task["cached"] else task["state"]]
    if task["exit_code"] is not None:
        words.append(f"exit code {task['exit_code']}")
    if "out-of-memory" in slugs:
        words.append("out of memory")
    said = ("out-of-memory", "task-failed", *words)
    words += [slug for slug in slugs if slug not in said]
    if task["peak_memory"]:
        words.append(f"held {show_bytes(task['peak_memory'])} of memory at most")
    return f"\n  {task['step']}: {', '.join(words)}"


def _text(living: Sequence[Document], latest: Document | None, *, named: bool) -> str:
    if living:
        return "\n\n".join(map(_under_way, living))
    if latest is None:
        return "nothing is running, and no run is kept"
    end = (
        f"{summaries.state(latest)}, began {summaries.moment(latest['started'])}, "
        f"took {summaries.took(latest)}: {summaries.counted(latest)}{_of_task(latest)}"
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
