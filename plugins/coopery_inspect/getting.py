"""`get`: copy an output out of the store."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery import selecting
from coopery.commands import Context
from coopery.errors import MachineError, Problem, RecipeError, nearest
from coopery.expanding import Node
from coopery.history import History
from coopery.lengths import too_long
from coopery.opening import Opened, Request, open_recipe
from coopery.options import LockPolicy
from coopery.session import make_plan, open_store
from coopery.steps import Record, Store


@dataclass(frozen=True, kw_only=True)
class Found:
    """An output of one instance: its bytes in the store, and where it goes below the target."""

    record: Record
    path: Path
    inside: str
    stale: str = ""
    """Why it is not what a run would make now; empty when it is."""


def run(context: Context) -> int:
    """Copy an output of a task, of one instance or of all, to a path of the user's.

    Raises RecipeError (`unknown-target`, `unknown-output`, `not-made`, `path-exists`) or
    MachineError (`output-gone`) when the bytes were dropped.
    """
    arguments = context.arguments
    task, dot, output = arguments.output.rpartition(".")
    request = Request(
        file=arguments.file,
        targets=(task,),
        sets=tuple(arguments.sets),
        lock=LockPolicy.PREVIEW,
    )
    opened = open_recipe(request, context.plugins, context.settings)
    if not dot or not task:
        raise _not_understood(arguments.output, opened)
    nodes = _nodes(opened, task, output)
    single = len(nodes) == 1 and (nodes[0].name == nodes[0].instance.task.name or "=" in task)
    base = nodes[0].outputs[output].base if single else output
    target = _target(arguments.destination, base, overwrite=arguments.overwrite)
    with open_store(context.plugins, context.settings) as store:
        found = _find(context, opened, request, store, nodes, output, single=single)
        for item in found:
            if item.stale:
                context.tell(
                    f"warning: {item.record.step} is not up to date ({item.stale}); "
                    f"this is what run {item.record.run} made"
                )
        _place(store, found, target)
    document = {
        "output": arguments.output,
        "path": str(target),
        "results": [
            {
                "step": item.record.step,
                "path": str(target / item.inside) if item.inside else str(target),
                "key": item.record.key,
                "made_by": item.record.run,
                "digest": item.record.outputs[output].digest,
                "stale": item.stale or None,
            }
            for item in found
        ],
    }
    context.answer(document, os.path.relpath(target))
    return 0


def _not_understood(given: str, opened: Opened) -> RecipeError:
    known = [f"{t.name}.{output}" for t in opened.recipe.tasks.values() for output in t.outputs]
    message = f"{given!r} does not say which output of which task"
    own = [name for name in known if name.startswith(f"{given}.")]
    hint = f"did you mean {own[0]!r}?" if own else nearest(given, known)
    return RecipeError(Problem(slug="unknown-output", message=message, hint=hint))


def _nodes(opened: Opened, task: str, output: str) -> Sequence[Node]:
    """The instances meant, all of one task that has this output."""
    names = selecting.select(opened.recipe, opened.nodes, (task,), Path.cwd())
    nodes = [opened.nodes[name] for name in names]
    tasks = tuple(dict.fromkeys(node.instance.task.name for node in nodes))
    if len(tasks) > 1:
        message = f"{task!r} means several tasks: {', '.join(tasks[:5])}"
        hint = "get the outputs of one task at a time"
        raise RecipeError(Problem(slug="unknown-output", message=message, hint=hint))
    if output not in nodes[0].outputs:
        message = f"task {tasks[0]} has no output {output!r}"
        hint = nearest(output, nodes[0].outputs) or "it has no outputs"
        raise RecipeError(Problem(slug="unknown-output", message=message, hint=hint))
    return nodes


def _target(given: str | None, base: str, *, overwrite: bool) -> Path:
    """Where the copy goes. Raises RecipeError (`path-exists`)."""
    target = Path(os.path.normpath(Path.cwd() / (given or ".")))
    if long := too_long(target):
        raise RecipeError(long)
    if target.is_dir() or (given or "").endswith("/"):
        target = target / base
    if os.path.lexists(target) and not overwrite:
        message = f"there is a {os.path.relpath(target)} already"
        hint = "--overwrite replaces it; or name another place"
        raise RecipeError(Problem(slug="path-exists", message=message, hint=hint))
    return target


def _find(
    context: Context,
    opened: Opened,
    request: Request,
    store: Store,
    nodes: Sequence[Node],
    output: str,
    *,
    single: bool,
) -> list[Found]:
    from coopery.forecasting import forecast

    plan = make_plan(opened, request, context.plugins, context.settings)
    forecasts = {f.step: f for f in forecast(plan, store, ())}
    fresh = store.recall([f.key for f in forecasts.values() if f.key])
    history = History(store, opened.recipe.file)
    found, unmade, gone = [], [], []
    for node in nodes:
        foreseen = forecasts[node.name]
        record, stale = fresh.get(foreseen.key), ""
        if record is None:
            record, stale = history.latest(node.name), foreseen.reason
        identity = record.outputs.get(output) if record else None
        if record is None or identity is None:
            unmade.append(node.name)
            continue
        store.lease([identity])  # so that nobody evicts it meanwhile
        path = store.find(identity)
        if path is None:
            gone.append(node.name)
            continue
        inside = "" if single else f"{node.instance.folder}/{node.outputs[output].base}"
        found.append(Found(record=record, path=path, inside=inside, stale=stale))
    if unmade:
        message = f"{_several(unmade)} made no {output!r} yet"
        hint = f"make it: {_command(request, unmade, nodes)}"
        raise RecipeError(Problem(slug="not-made", message=message, hint=hint))
    if gone:
        message = f"the bytes of {output!r} of {_several(gone)} are not kept any more"
        hint = f"make them again: {_command(request, gone, nodes, '--force')}"
        raise MachineError(Problem(slug="output-gone", message=message, hint=hint))
    return found


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _command(request: Request, names: Sequence[str], nodes: Sequence[Node], *flags: str) -> str:
    """The command that makes these instances, as one would type it."""
    whole = len(names) == len(nodes) > 1
    targets = [nodes[0].instance.task.name] if whole else names
    file = ["-f", request.file] if request.file else []
    sets = [item for text in request.sets for item in ("--set", text)]
    return shlex.join(["coopery", "run", *file, *flags, *sets, *targets])


def _place(store: Store, found: Sequence[Found], target: Path) -> None:
    """Copy beside the target, then rename: it is there whole, or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".coopery-{secrets.token_hex(4)}")
        try:
            for item in found:
                copy = beside / item.inside if item.inside else beside
                copy.parent.mkdir(parents=True, exist_ok=True)
                store.copy(item.path, copy)
            _remove(target)
            beside.rename(target)
        finally:
            _remove(beside)
    except OSError as error:
        message = f"{os.path.relpath(target)} cannot be written: {error.strerror or error}"
        raise MachineError(Problem(slug="not-writable", message=message)) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
