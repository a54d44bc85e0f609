"""`logs`: what steps printed when they last ran."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from coopery import selecting
from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.history import History, latest_run, recipe_file
from coopery.opening import Request, open_recipe
from coopery.run_files import Meant, is_run_file, meant

_BLOCK = 64 * 1024


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
    _take_run(context)
    _check(context)
    with meant(context, context.arguments.run) as named:
        if context.arguments.follow and (run := _under_way(context, named)) is not None:
            from coopery_inspect.following import follow

            return follow(context, History(named.living_store, None), run)
        logs = _failed(context, named) if context.arguments.failed else _named(context, named)
        if context.arguments.json:
            context.answer([_document(log, context.arguments.tail) for log in logs], "")
        else:
            _print(context, logs)
    return 0


def _take_run(context: Context) -> None:
    """What of the arguments is no task, but a run's id or a run file: as `--run` names one.

    No task's name begins as an id does. Raises RecipeError (`bad-command-line`) for several.
    """
    arguments = context.arguments
    # A path may be that of an output, too, which names its task.
    runs = [word for word in arguments.tasks if word[:1].isdigit() or is_run_file(word)]
    if not runs:
        return
    if len(runs) > 1 or arguments.run is not None:
        message = f"several runs are named: {', '.join(filter(None, (arguments.run, *runs)))}"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="name one"))
    arguments.run = runs[0]
    arguments.tasks = [word for word in arguments.tasks if word not in runs]


def _check(context: Context) -> None:
    """Raises RecipeError for flags that do not go together."""
    arguments = context.arguments
    message = hint = None
    if not arguments.tasks and not arguments.failed and arguments.run is None:
        message, hint = "no task is named", "name one, or a run, or ask for --failed"
    elif arguments.follow and arguments.json:
        message, hint = "--json answers once, --follow goes on", "use one of them"
    elif arguments.follow and arguments.failed:
        message, hint = "what has failed is not followed", "use --failed or --follow"
    elif arguments.tail is not None and arguments.tail < 0:
        message = f"--tail: expected at least 0, found {arguments.tail}"
    if message is not None:
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))


def _under_way(context: Context, named: Meant) -> str | None:
    """The run to follow: the one that is named, else the recipe's latest under way, if any."""
    store = named.living_store
    if named.given is not None:
        found = named.find()
        return found if found in store.living() else None
    living = History(store, recipe_file(context)).living()
    return next((str(document["run"]) for document in living), None)


def _named(context: Context, named: Meant) -> list[Log]:
    """The latest logs of the steps that are named."""
    arguments = context.arguments
    store = named.living_store
    if arguments.run is not None:
        history = History(store, None)
        runs: Sequence[str] = (named.find(),)
    else:
        history = History(store, recipe_file(context))
        runs = tuple(history.runs())
    names = _names(context, history, runs)
    logs = [log for log in (_find(history, runs, name) for name in names) if log is not None]
    if not logs:
        shown = " ".join(arguments.tasks)
        where = f" in run {runs[0]}" if arguments.run is not None else ""
        message = f"{shown} has no log: it did not run{where}"
        if not arguments.tasks:
            raise RecipeError(Problem(slug="no-log", message=f"no task ran{where}"))
        raise RecipeError(Problem(slug="no-log", message=message, hint=f"run it: {_again(shown)}"))
    return logs


def _again(shown: str) -> str:
    return f"coopery run {shown}"


def _failed(context: Context, named: Meant) -> list[Log]:
    """The logs of the steps that failed in a run: the one that is named, else the latest."""
    arguments = context.arguments
    file, store = named.recipe, named.living_store
    history = History(store, file)
    run = latest_run(store, file) if named.given is None else named.find()
    failed = [
        step for step in history.steps(run) if (history.entry(run, step) or {})["state"] == "failed"
    ]
    if arguments.tasks:
        steps = history.steps(run)
        meant = {name for task in arguments.tasks for name in selecting.matching(task, steps)}
        failed = [step for step in failed if step in meant]
    if not failed:
        context.tell(f"nothing failed in run {run}")
    return [_made(history, run, step) for step in failed]


def _names(context: Context, history: History, runs: Sequence[str]) -> Sequence[str]:
    """The steps that are meant: instances of the recipe as it is now, else steps of past runs.

    The past knows those that are no tasks (`environment science`), and helps where the recipe is
    broken or a task has gone from it.
    """
    targets = context.arguments.tasks
    if not targets:
        return tasks_of(history, runs[0])
    if context.arguments.run is not None:
        past = _all_matching(targets, history.steps(runs[0]))
        if past:
            return past
    try:
        return in_recipe(context)
    except RecipeError:
        for run in runs:
            past = _all_matching(targets, history.steps(run))
            if past:
                return past
        raise


def tasks_of(history: History, run: str) -> Sequence[str]:
    """The tasks of a run, and what else failed in it."""
    steps = {name: history.entry(run, name) or {} for name in history.steps(run)}
    return [n for n, step in steps.items() if step["kind"] == "task" or step["state"] == "failed"]


def in_recipe(context: Context) -> Sequence[str]:
    """The instances that are meant, of the recipe as it is now. Raises RecipeError."""
    request = Request(file=context.arguments.file)
    opened = open_recipe(request, context.plugins, context.settings)
    targets = tuple(context.arguments.tasks)
    return selecting.select(opened.recipe, opened.nodes, targets, Path.cwd())


def _all_matching(targets: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The steps that the targets mean; none unless each of them means some."""
    found = [selecting.matching(target, names) for target in targets]
    return list(dict.fromkeys(name for part in found for name in part)) if all(found) else []


def _find(history: History, runs: Sequence[str], step: str) -> Log | None:
    """The log of the latest of these runs in which the step ran, or whose result it took."""
    for run in runs:
        entry = history.entry(run, step)
        if entry is None:
            continue
        if entry["cached"] and entry["made_by"]:
            return _made(history, entry["made_by"], step)
        if entry["state"] == "running":
            return Log(step=step, run=run, path=history.store.log_path(run, step))
        if entry["log"] is not None or entry["started"] is not None:
            return _made(history, run, step)
    return None


def _made(history: History, run: str, step: str) -> Log:
    entry = history.entry(run, step)
    if entry is None:
        return Log(step=step, run=run, path=None, note="the run that made it is not kept any more")
    # A run that was killed had no time to say where the log is, and a home may have been moved.
    path = Path(entry["log"] or "")
    if not path.is_file():
        path = history.store.log_path(run, step)
    if entry["log"] and not path.is_file():
        return Log(step=step, run=run, path=None, note="its log is not kept any more")
    if not path.is_file() or path.stat().st_size == 0:
        return Log(step=step, run=run, path=None, note="it printed nothing")
    return Log(step=step, run=run, path=path)


def made_in(history: History, run: str, step: str) -> Log | None:
    """The log of a step that has ended in a run, there or in the run whose result it took."""
    return _find(history, (run,), step)


def _document(log: Log, tail: int | None) -> dict[str, str | None]:
    text = b""
    if log.path is not None and log.path.is_file():
        with log.path.open("rb") as file:
            seek_tail(file, tail)
            text = file.read()
    return {
        "step": log.step,
        "run": log.run,
        "path": str(log.path) if log.path else None,
        "text": text.decode("utf-8", "replace"),
        "note": log.note or None,
    }


def seek_tail(file: IO[bytes], lines: int | None) -> None:
    """Go to where the last so many lines begin; None stands for all of them."""
    if lines is None:
        return
    end = file.seek(0, 2)
    found = b""
    start = end
    # A file that ends with a line break has one break more than lines to skip.
    while start > 0 and found[:-1].count(b"\n") < lines:
        size = min(_BLOCK, start)
        start -= size
        file.seek(start)
        found = file.read(size) + found
    kept = found.splitlines(keepends=True)
    file.seek(end - sum(map(len, kept[len(kept) - lines :])) if lines < len(kept) else start)


def _print(context: Context, logs: Sequence[Log]) -> None:
    """The logs as they are, byte for byte; what is said about them goes to stderr."""
    for index, log in enumerate(logs):
        if len(logs) > 1:
            gap = "\n" if index else ""
            print(f"{gap}==> {log.step} (run {log.run}) <==", flush=True)
        else:
            context.tell(f"{log.step}, run {log.run}")
        if log.path is None or not log.path.is_file():
            context.tell(f"{log.step}: {log.note or 'it has printed nothing yet'}")
            continue
        with log.path.open("rb") as file:
            seek_tail(file, context.arguments.tail)
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
