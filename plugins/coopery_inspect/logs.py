"""`logs`: what a step printed when it last ran."""

from __future__ import annotations

import fnmatch
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery import expanding
from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.opening import Request, open_recipe
from coopery.session import open_store
from coopery_inspect.history import History, find_run, recipe_file


@dataclass(frozen=True, kw_only=True)
class Log:
    """A step's log and the run it was written in; without a path, `note` says why."""

    step: str
    run: str
    path: Path | None
    note: str = ""


def run(context: Context) -> int:
    """Print the logs of the steps that are meant, with a header each when there are several.

    Raises RecipeError: `unknown-target`, `unknown-run`, or `no-log` when none of them ever ran.
    """
    arguments = context.arguments
    with open_store(context.plugins, context.settings) as store:
        if arguments.run is not None:
            history = History(store, None)
            runs: Sequence[str] = (find_run(store, arguments.run),)
        else:
            history = History(store, recipe_file(context))
            runs = tuple(history.runs())
        names = _names(context, history, runs)
        found = [_find(history, runs, name) for name in names]
        logs = [log for log in found if log is not None]
        if not logs:
            where = f" in run {runs[0]}" if arguments.run is not None else ""
            message = f"{arguments.task} has no log: it did not run{where}"
            hint = f"run it: coopery run {arguments.task}"
            raise RecipeError(Problem(slug="no-log", message=message, hint=hint))
        document = [
            {
                "step": log.step,
                "run": log.run,
                "path": str(log.path) if log.path else None,
                "text": log.path.read_text("utf-8", "replace") if log.path else "",
                "note": log.note or None,
            }
            for log in (logs if arguments.json else ())
        ]
        context.answer(document, "")
        if not arguments.json:
            _print(context, logs)
    return 0


def _names(context: Context, history: History, runs: Sequence[str]) -> Sequence[str]:
    """The steps that are meant: instances of the recipe as it is now, else steps of past runs.

    The past knows those that are no tasks (`environment science`), and helps where the recipe is
    broken or a task has gone from it.
    """
    target = context.arguments.task
    if context.arguments.run is not None:
        past = _matching(target, history.steps(runs[0]))
        if past:
            return past
    try:
        request = Request(file=context.arguments.file)
        opened = open_recipe(request, context.plugins, context.settings)
        return expanding.select(opened.recipe, opened.nodes, (target,), Path.cwd())
    except RecipeError:
        for run in runs:
            past = _matching(target, history.steps(run))
            if past:
                return past
        raise


def _matching(target: str, names: Sequence[str]) -> Sequence[str]:
    name, bracket, rest = target.partition("[")
    if bracket and rest.endswith("]") and "=" in rest:
        target = f"{name}@{rest[:-1]}"
    task, at, coords = target.partition("@")
    if at:
        target = f"{task}@{','.join(sorted(coords.split(',')))}"
    exact = [n for n in names if target in (n, n.partition("@")[0])]
    return exact or [n for n in names if fnmatch.fnmatchcase(n, target)]


def _find(history: History, runs: Sequence[str], step: str) -> Log | None:
    """The log of the latest of these runs in which the step ran, or whose result it took."""
    for run in runs:
        entry = history.entry(run, step)
        if entry is None:
            # A run that has not ended tells of no steps yet, but logs are there as they grow.
            path = history.store.log_path(run, step)
            if path.is_file():
                return Log(step=step, run=run, path=path)
        elif entry["cached"] and entry["made_by"]:
            return _made(history, entry["made_by"], step)
        elif entry["log"] is not None or entry["started"] is not None:
            return _made(history, run, step)
    return None


def _made(history: History, run: str, step: str) -> Log:
    entry = history.entry(run, step)
    if entry is None:
        return Log(step=step, run=run, path=None, note="the run that made it is not kept any more")
    path = Path(entry["log"]) if entry["log"] else None
    if path is None or not path.is_file() or path.stat().st_size == 0:
        note = (
            "its log is not kept any more" if path and not path.is_file() else "it printed nothing"
        )
        return Log(step=step, run=run, path=None, note=note)
    return Log(step=step, run=run, path=path)


def _print(context: Context, logs: Sequence[Log]) -> None:
    """The logs as they are, byte for byte; what is said about them goes to stderr."""
    for index, log in enumerate(logs):
        if len(logs) > 1:
            gap = "\n" if index else ""
            print(f"{gap}==> {log.step} (run {log.run}) <==", flush=True)
        else:
            context.tell(f"{log.step}, run {log.run}")
        if log.path is None:
            context.tell(f"{log.step}: {log.note}")
            continue
        with log.path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
