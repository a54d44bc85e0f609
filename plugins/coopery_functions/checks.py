"""What is wrong with a function task, found before anything runs."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from typing import Any

from coopery.errors import KeyPath, Place, Problem, nearest, problem
from coopery.model import Image, Task
from coopery_functions.reach import Reach

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_target(target: Callable[..., Any] | str, key: KeyPath) -> Iterator[Problem]:
    """It is `module:name`, or an ordinary function."""
    if isinstance(target, str):
        if not _TARGET.fullmatch(target):
            message = f"{target!r} does not name a function"
            yield problem("function-target", message, key=key, hint="write module:function")
        return
    if not isinstance(target, types.FunctionType):
        yield problem(
            "function-kind",
            f"a {type(target).__name__} is not a plain Python function",
            key=key,
            hint="put `def` around the call of it",
        )
        return
    kinds = {
        "an async function": inspect.iscoroutinefunction(target),
        "an async generator": inspect.isasyncgenfunction(target),
        "a generator": inspect.isgeneratorfunction(target),
    }
    for what, found in kinds.items():
        if found:
            message = f"{target.__qualname__} is {what}: a call would not run its body"
            hint = "make it a plain function, which may run the other"
            yield problem("function-kind", message, key=key, hint=hint)


def check_signature(function: types.FunctionType, task: Task) -> Iterator[Problem]:
    """As `check_parameters`, of a function that is there."""
    yield from check_parameters(function.__qualname__, inspect.signature(function).parameters, task)


def check_parameters(
    shown: str, accepted: Mapping[str, Parameter], task: Task
) -> Iterator[Problem]:
    """Every channel and parameter has an argument, and every argument gets a value."""
    key: KeyPath = ("task", task.name)
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in accepted.values())
    by_name = [n for n, p in accepted.items() if p.kind in _BY_NAME]
    written = [name for name, output in task.outputs.items() if not output.returns]
    given = {"inputs": task.inputs, "outputs": written, "params": task.params}
    for table, names in given.items():
        for name in names:
            if name not in by_name and not open_ended:
                what = {"inputs": "input", "outputs": "output", "params": "parameter"}[table]
                yield problem(
                    "function-signature",
                    f"{shown} has no argument for the {what} {name!r}",
                    key=(*key, table, name),
                    hint=nearest(name, by_name) or f"{shown} takes no arguments",
                )
    files = [name for name, secret in task.secrets.items() if secret.how == "file"]
    known = [name for names in (*given.values(), task.matrix, files) for name in names]
    for name, parameter in accepted.items():
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            message = f"the argument {name!r} of {shown} is positional-only"
            hint = "arguments are given by name: remove the / from the signature"
            yield problem("function-signature", message, key=(*key, "function"), hint=hint)
        elif (
            parameter.kind in _BY_NAME
            and parameter.default is Parameter.empty
            and name not in known
        ):
            yield problem(
                "function-signature",
                f"nothing gives the argument {name!r} of {shown} a value",
                key=(*key, "function"),
                hint=f"declare it as an input, an output or params.{name}, or give it a default",
            )


def check_returns(task: Task) -> Iterator[Problem]:
    """A function returns one value, which is one file."""
    returned = [name for name, output in task.outputs.items() if output.returns]
    for name in returned[1:]:
        message = f"a function returns one value: {returned[0]!r} has it already"
        hint = "return a dictionary, or write the others to the paths of plain outputs"
        key: KeyPath = ("task", task.name, "outputs", name, "returns")
        yield problem("function-returns", message, key=key, hint=hint)
    for name in returned:
        if (task.outputs[name].path or "").endswith("/"):
            message = "a returned value is one file, not a folder"
            key = ("task", task.name, "outputs", name)
            hint = "leave out the / at its end"
            yield problem("function-returns", message, key=key, hint=hint)


def check_names(task: Task) -> Iterator[Problem]:
    """No argument comes from two sides."""
    seen: dict[str, str] = {}
    tables = {
        "inputs": task.inputs,
        "outputs": [name for name, output in task.outputs.items() if not output.returns],
        "matrix": task.matrix,
        "params": task.params,
        "secrets": task.secrets,
    }
    for table, names in tables.items():
        for name in names:
            other = seen.setdefault(name, table)
            if other != table:
                message = f"{name!r} is one of {other} and of {table}: an argument has one value"
                key: KeyPath = ("task", task.name, table, name)
                yield problem("function-signature", message, key=key, hint="rename one of them")


def check_python(task: Task, image: Image | None, here: str, shown: str) -> Iterator[Problem]:
    """A pickled function runs only in the Python version that pickled it (seed row C12)."""
    if image is None or image.python is None or image.python == here:
        return
    yield problem(
        "python-mismatch",
        f"{shown} is pickled by Python {here}, but image {image.name!r} has {image.python}",
        key=("task", task.name, "function"),
        hint=f"run coopery with Python {image.python}, or give the image python = {here!r}; or put "
        'it into a project or a source of the image and name it, as in task("module:function"): '
        "what is imported by name runs in any Python",
    )


def check_literals(function: types.FunctionType, task: Task, reach: Reach) -> Iterator[Problem]:
    """Nothing that looks like a credential travels with the function (seed row Q1)."""
    from coopery.credentials import texts_of, warning
    from coopery_functions.literals import suspects

    key: KeyPath = ("task", task.name, "function")
    # A default that is also the task's parameter is told there.
    given = {text for _, _, text in texts_of(task.params, (), "")}
    for found in suspects(function, reach):
        if found.text in given:
            continue
        what = "this" if found.line else f"a value that {function.__qualname__} captures"
        place = Place(file=found.file, line=found.line or function.__code__.co_firstlineno, key=key)
        yield warning(found.kind, key=key, place=place, what=what)


_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
