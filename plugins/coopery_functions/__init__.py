"""Tasks that run a Python function: imported by name, or pickled by value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from coopery.errors import Problem, RecipeError, problem
from coopery.hooks import hookimpl
from coopery.marks import Callables
from coopery.recipes import Facet
from coopery_functions.frozen import Pickled

if TYPE_CHECKING:
    import types

    from coopery.dependencies import Aux, Frozen, Invocation
    from coopery.model import Instance, Recipe, Task
    from coopery_functions.reach import Reach


@dataclass(frozen=True)
class Function:
    """What a task calls: a function, or `module:qualname` in the task's environment."""

    target: Callable[..., Any] | str

    needs_python: ClassVar[bool] = True
    """So images that such a task runs in begin with a base that has Python."""


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`function` of a task."""
    doc = "The function to call: `module:name`; in a Python recipe also the function itself."
    kind = Annotated[str, Callables()]
    frozen = "A function that was pickled when a bundle was made; not to be written by hand."
    return [
        Facet(noun="task", key="function", type=kind, wrap=Function, doc=doc, action=True),
        Facet(noun="task", key="pickled", type=Pickled, doc=frozen, action=True, by_hand=False),
    ]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """Functions are plain, fit their task's channels and parameters, and can be sent."""
    told: set[tuple[object, ...]] = set()
    for task in recipe.tasks.values():
        function = task.facet(Function)
        if pickled := task.facet(Pickled):
            from coopery_functions.frozen import check_pickled

            yield from check_pickled(recipe, pickled, ("task", task.name, "pickled"))
        elif function is None:
            yield from _valueless(task)
        if function is None:
            continue
        for found in _check(recipe, task, function.target):
            # What several tasks carry along is told once.
            place = (found.slug, found.message, found.place.file, found.place.line)
            if not found.warning or place not in told:
                yield found
            told.add(place)


def _valueless(task: Task) -> Iterable[Problem]:
    """Only functions take and return values."""
    asked = [("inputs", n, "load") for n, channel in task.inputs.items() if channel.load]
    asked += [("outputs", n, "returns") for n, channel in task.outputs.items() if channel.returns]
    for table, name, key in asked:
        message = f"{key!r} is for functions, and this task runs a command"
        hint = "leave it out: a command gets the path, and reads or writes the file itself"
        yield problem("value-of-command", message, key=("task", task.name, table, name), hint=hint)


def _check(recipe: Recipe, task: Task, target: Callable[..., Any] | str) -> Iterable[Problem]:
    import types

    from coopery.model import HOST_PYTHON
    from coopery_functions import checks, payload

    key = ("task", task.name, "function")
    problems = list(checks.check_target(target, key))
    problems += checks.check_names(task)
    problems += checks.check_returns(task)
    if isinstance(target, str) and not problems:
        from coopery_functions.named import check_named

        problems += check_named(target, task, _reach(recipe, task))
    if isinstance(target, types.FunctionType):
        problems += checks.check_signature(target, task)
        reach = _reach(recipe, task)
        if not problems and not reach.provides(target):
            image = recipe.images.get(task.image or "")
            problems += checks.check_python(task, image, HOST_PYTHON, target.__qualname__)
            try:
                payload.by_value(target, reach)
            except payload.Unsendable as error:
                problems.append(error.problem(key))
            else:
                problems += checks.check_literals(target, task, reach)
    return problems


def _reach(recipe: Recipe, task: Task) -> Reach:
    from coopery_functions.reach import reach_of

    return reach_of(recipe, recipe.images.get(task.image or ""))


@hookimpl(trylast=True)
def plan_task(recipe: Recipe, instance: Instance) -> Invocation | None:
    """A runner script with a description of the call, and the pickle if there is one."""
    function = instance.task.facet(Function)
    if pickled := instance.task.facet(Pickled):
        return _as_pickled(recipe, instance, pickled)
    if function is None:
        return None
    from coopery.dependencies import Aux, Invocation
    from coopery_functions import payload

    target = function.target
    reach = _reach(recipe, instance.task)
    files = [Aux(name="runner.py", content=payload.runner(), keyed=None)]
    if isinstance(target, str) or reach.provides(target):
        name = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
        files.append(_call(instance, name))
        files += [_library()] if "pickle" in _formats(instance.task) else []
    else:
        files.append(_call(instance, None))
        files += _pickled(target, reach, instance.task)
    return Invocation(
        command=("python", *(f"{{aux.{file.name}}}" for file in files)),
        shown=_shown(instance, target),
        aux=tuple(files),
        by_python=True,
    )


def _as_pickled(recipe: Recipe, instance: Instance, pickled: Pickled) -> Invocation:
    from coopery.dependencies import Invocation
    from coopery_functions.frozen import auxiliary

    files = auxiliary(recipe, pickled, _call(instance, None))
    return Invocation(
        command=("python", *(f"{{aux.{file.name}}}" for file in files)),
        shown=_shown_as(instance, pickled.shown, pickled.accepts),
        aux=files,
        by_python=True,
    )


@hookimpl(trylast=True)
def freeze_task(recipe: Recipe, task: Task) -> Frozen | None:
    """The function by its name, or its pickle."""
    from coopery_functions.frozen import freeze, freeze_again

    if pickled := task.facet(Pickled):
        return freeze_again(recipe, pickled)
    function = task.facet(Function)
    if function is None:
        return None
    return freeze(recipe, task, function.target, _reach(recipe, task))


def _pickled(target: Callable[..., Any], reach: Reach, task: Task) -> list[Aux]:
    from typing import cast

    from coopery.dependencies import Aux
    from coopery_functions import payload

    try:
        digest, content = payload.by_value(cast("types.FunctionType", target), reach)
    except payload.Unsendable as error:
        raise RecipeError(error.problem(("task", task.name, "function"))) from None
    return [
        Aux(name="payload.pkl", content=content, keyed=digest),
        _library(),
    ]


def _library() -> Aux:
    from coopery.dependencies import Aux
    from coopery_functions import payload

    return Aux(name="cloudpickle.zip", content=payload.library(), keyed=None)


def _formats(task: Task) -> set[str | None]:
    """How the values that a task takes and returns are kept."""
    inputs, outputs = task.inputs.values(), task.outputs.values()
    return {*(channel.load for channel in inputs), *(channel.returns for channel in outputs)}


def _call(instance: Instance, target: str | None) -> Aux:
    """The description of the call, which enters the key as it is."""
    import json

    from coopery.dependencies import Aux

    task = instance.task
    channels = {name: _variable("INPUT", name) for name in task.inputs}
    written = {name: output for name, output in task.outputs.items() if not output.returns}
    channels |= {name: _variable("OUTPUT", name) for name in written}
    call: dict[str, Any] = {
        "target": target,
        "channels": channels,
        "arguments": dict(task.params),
        "offered": dict(instance.coords),
    }
    if loads := {name: channel.load for name, channel in task.inputs.items() if channel.load}:
        call["load"] = loads
    for name, output in task.outputs.items():
        if output.returns:
            call["returns"] = [_variable("OUTPUT", name), output.returns]
    files = {n: _variable("SECRET", n) for n, given in task.secrets.items() if given.how == "file"}
    if files:
        call["secrets"] = files
    text = json.dumps(call, sort_keys=True, ensure_ascii=True)
    return Aux(name="call.json", content=text.encode(), keyed=text)


def _variable(kind: str, channel: str) -> str:
    return f"COOPERY_{kind}_{channel.upper().replace('-', '_')}"


def _shown(instance: Instance, target: Callable[..., Any] | str) -> str:
    """The call as a person would write it: `prepare(raw, table, seed=0)`."""
    import inspect

    if isinstance(target, str):
        return _shown_as(instance, target, ())
    return _shown_as(instance, target.__qualname__, inspect.signature(target).parameters)


def _shown_as(instance: Instance, name: str, accepted: Iterable[str]) -> str:
    task = instance.task
    values = dict(task.params)
    values |= {axis: value for axis, value in instance.coords if axis in accepted}
    channels = [*task.inputs, *(name for name, out in task.outputs.items() if not out.returns)]
    return f"{name}({', '.join([*channels, *(f'{k}={v!r}' for k, v in values.items())])})"
