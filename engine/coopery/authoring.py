"""What a `recipe.py` imports: calls that say the same as a recipe's tables do.

Each call adds a raw table, with the file and line of the call, to the collector that the reader of
Python recipes sets. Without a collector (a test, a notebook, a worker) they add nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Generic, ParamSpec, TypeVar, overload

from coopery.errors import KeyPath, Place, Problem, RecipeError, nearest

P = ParamSpec("P")
R = TypeVar("R")
Table = dict[str, Any]


def _checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; a call of it in a recipe that does not fit is a RecipeError
    (`wrong-call`) with the place of the call, and how it is made.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _collector.get() is not None:
            signature = inspect.signature(function)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                message = f"{function.__name__}(): {error}"
                raise RecipeError(_wrong_call(message, _usage(function, signature))) from None
        return function(*args, **kwargs)

    return call


def _usage(function: Callable[..., Any], signature: inspect.Signature) -> str:
    """How a function is called: `command(NAME, RUN, image=…, inputs=…)`."""
    shown = []
    for name, parameter in signature.parameters.items():
        match parameter.kind:
            case parameter.KEYWORD_ONLY:
                shown.append(f"{name}=…")
            case parameter.VAR_KEYWORD if name != "unknown":
                shown.append("…")
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD if name != "self":
                shown.append(name.upper())
    return f"write {function.__name__}({', '.join(shown)})"


def _wrong_call(message: str, hint: str) -> Problem:
    return Problem(slug="wrong-call", message=message, place=_caller()[0], hint=hint)


class ImageHandle:
    """An image a recipe speaks of; its name may be that of the variable it is bound to."""

    def __init__(self, name: str | None, table: Table | None = None) -> None:
        self.name = name
        self.table = table or {}

    def __repr__(self) -> str:
        return f"<image {self.name or '(not named yet)'}>"


@dataclass(frozen=True)
class _TemplateOf:
    """A template of an image whose name may be known only once the recipe was read."""

    image: ImageHandle | str | None
    identifier: str

    def __str__(self) -> str:
        name = self.image.name if isinstance(self.image, ImageHandle) else self.image
        return f"{name or ''}#{self.identifier}"


class TaskHandle:
    """A task a recipe speaks of."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    @_checked
    def output(self, name: str, *, load: str | None = None, **at: Any) -> Table:
        """An input that reads this task's output `name`; `at` picks one instance by its axes.

        With `load` (`"json"` or `"pickle"`) a function is given the value, not the path.
        """
        return Input(origin=f"{self.name}.{name}", at=at or None, load=load)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hint = f"to make a function a task of that name, write @task(name={self.name!r})"
        raise RecipeError(_wrong_call(f"the task {self.name!r} is no function", hint))

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class TaskFunction(TaskHandle, Generic[P, R]):
    """A function that is a task: called as before, and a handle on the task."""

    def __init__(self, name: str, function: Callable[P, R]) -> None:
        super().__init__(name)
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Where it runs there may be no coopery: there, a plain function does.
        return functools.partial, (self.function,)


@dataclass
class _Named:
    """One call that names an image or a task."""

    noun: str
    handle: ImageHandle | TaskHandle
    table: Table
    place: Place
    scope: Mapping[str, Any]


@dataclass
class Collector:
    """What the calls of one recipe said, in order."""

    calls: list[_Named] = field(default_factory=list)
    defaults: list[tuple[Table, Place]] = field(default_factory=list)
    registries: list[tuple[Any, Place]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What was wrong with the calls themselves."""

    def finish(self) -> tuple[Table, dict[KeyPath, Place], list[Problem]]:
        """The document's tables, where each call stands, and names given twice or not at all."""
        data: Table = {"image": {}, "task": {}}
        places: dict[KeyPath, Place] = {}
        problems = list(self.problems)
        for call in self.calls:
            if not call.handle.name:
                call.handle.name = bound_name(call.handle, call.scope)
        tables = [*(call.table for call in self.calls), *(table for table, _ in self.defaults)]
        in_place = {id(table.get("image")) for table in tables}
        for call in self.calls:
            name = call.handle.name
            if name is None and call.noun == "image" and id(call.handle) in in_place:
                continue  # a task describes it, and nothing else speaks of it
            if not name or not isinstance(name, str):
                problems.append(_unnamed(call))
                continue
            key: KeyPath = (call.noun, name)
            if key in places:
                problems.append(_twice(f"{call.noun} {name!r}", key, places[key], call.place))
                continue
            places[key] = dataclasses.replace(call.place, key=key)
            table = _plain_table(call.table, places[key], problems)
            data.setdefault(call.noun, {})[name] = table
        for table, place in self.defaults:
            key = ("defaults",)
            if key in places:
                problems.append(_twice("defaults", key, places[key], place))
                continue
            places[key] = dataclasses.replace(place, key=key)
            data["defaults"] = _plain_table(table, places[key], problems)
        if self.registries:
            key = ("registries",)
            places[key] = dataclasses.replace(self.registries[0][1], key=key)
            tables = [table for table, _ in self.registries]
            data |= _plain_table({"registries": tables}, places[key], problems)
            for number, (_, place) in enumerate(self.registries):
                places[(*key, number)] = dataclasses.replace(place, key=(*key, number))
        return data, places, problems


_collector: ContextVar[Collector | None] = ContextVar("coopery_collector", default=None)


@contextmanager
def collecting(collector: Collector | None = None) -> Iterator[Collector]:
    """Within it, the calls of this module are collected, by this collector or a new one."""
    collector = collector or Collector()
    token = _collector.set(collector)
    try:
        yield collector
    finally:
        _collector.reset(token)


def _plain_table(table: Table, place: Place, problems: list[Problem]) -> Table:
    """What a call was given, less what holds itself."""
    found: Table = {}
    for name, value in table.items():
        try:
            found[name] = raw(value)
        except RecursionError:
            hint = "write values that do not hold themselves"
            where = dataclasses.replace(place, key=(*place.key, name))
            message = f"{name!r} is nested without end"
            problems.append(Problem(slug="wrong-value", message=message, place=where, hint=hint))
    return found


def raw(value: Any) -> Any:
    """A value as a recipe's table holds it: names for images, tables for coopery's dataclasses."""
    match value:
        case ImageHandle():
            return raw(value.table) if value.name is None else value.name
        case PurePath() | _TemplateOf():
            return str(value)
        case Mapping():
            return {raw(k): raw(v) for k, v in value.items()}
        case list() | tuple() if not hasattr(value, "_fields"):
            return [raw(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and type(value).__module__.startswith("coopery"):
            return _table_of(value)
    return value


def _table_of(value: Any) -> Table:
    """The keys of a dataclass whose values differ from their defaults."""
    from coopery.shapes import fields_of

    defaults = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default
        for f in dataclasses.fields(value)
    }
    kind: type = type(value)
    given = ((f.key, f.attribute, getattr(value, f.attribute)) for f in fields_of(kind))
    return {key: raw(item) for key, attribute, item in given if item != defaults[attribute]}


def bound_name(handle: object, scope: Mapping[str, Any]) -> str | None:
    """The variable of a module that holds this very object."""
    return next((name for name, value in scope.items() if value is handle), None)


def _unnamed(call: _Named) -> Problem:
    hint = 'name it: command("fit", …)'
    if call.noun == "image":
        hint = 'bind it to a variable of the module, or name it: Image("science", …)'
    if call.handle.name:
        message = f"the name of this {call.noun} is {call.handle.name!r}, which is no text"
        return Problem(slug="wrong-type", message=message, place=call.place, hint=hint)
    message = f"this {call.noun} has no name"
    if call.noun == "image":
        return Problem(slug="unnamed-image", message=message, place=call.place, hint=hint)
    return Problem(slug="unnamed-task", message=message, place=call.place, hint=hint)


def _twice(what: str, key: KeyPath, first: Place, second: Place) -> Problem:
    before = f"line {first.line}" if first.file == second.file else f"{first.file}:{first.line}"
    return Problem(
        slug="duplicate-name",
        message=f"{what} is given twice: at line {second.line} and before at {before}",
        place=dataclasses.replace(second, key=key),
        hint="say it in one call" if what == "defaults" else "give one of them another name",
    )


_OWN = (__name__, "coopery.interactive")


def _caller() -> tuple[Place, Mapping[str, Any]]:
    """The place of the call into this module, and the variables of the calling module."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") in _OWN and frame.f_back is not None:
        frame = frame.f_back
    return Place(file=frame.f_code.co_filename, line=frame.f_lineno), frame.f_globals


def _collect(noun: str, handle: ImageHandle | TaskHandle, table: Table) -> None:
    collector = _collector.get()
    if collector is not None:
        place, scope = _caller()
        collector.calls.append(_Named(noun, handle, table, place, scope))


def _given(**values: Any) -> Table:
    return {name: value for name, value in values.items() if value is not None}


@_checked
def Image(name: str | None = None, **facets: Any) -> ImageHandle:
    """An image: `python`, `packages`, `projects`, … are the keys of `[image.NAME]`.

    Without a name it is called as the variable of the module that it is bound to. One that is
    written where a task names its image needs none: equal ones are one image.
    """
    handle = ImageHandle(name, facets)
    _collect("image", handle, facets)
    return handle


@_checked
def family(name: str, **keys: Any) -> None:
    """A family of base images: the keys of `[family.NAME]`."""
    _collect("family", ImageHandle(name), keys)


@_checked
def registries(*logins: Any) -> None:
    """Who one is at registries of images: the tables of the list `registries`."""
    collector = _collector.get()
    if collector is not None:
        collector.registries += ((login, _caller()[0]) for login in logins)


@_checked
def Input(
    path: str | PurePath | None = None,
    *,
    origin: str | None = None,
    at: Mapping[str, Any] | None = None,
    mount: str | None = None,
    bind: bool = False,
    load: str | None = None,
    **unknown: Any,
) -> Table:
    """An input channel; `origin` (`from` in TOML) is `TASK.OUTPUT`, `at` picks an instance.

    With `load` (`"json"` or `"pickle"`) a function is given the value, not the path. What is to be
    `bind` is used where it is, by a task that is `always` run.

    Here and below, `unknown` keywords reach the reader, which refuses them together with all else
    that is wrong, with the nearest name; a TypeError would hide the rest.
    """
    more = {}
    for keyword, value in unknown.items():
        if keyword == "from":
            more[keyword] = value
        elif keyword == "from_" or nearest(keyword, ("origin",)) == "did you mean 'origin'?":
            origin = value if origin is None else origin
            _misspelt("Input", keyword, "write origin=…, which is `from` in TOML")
        else:
            hint = nearest(keyword, ("path", "origin", "at", "mount", "bind", "load")) or ""
            _misspelt("Input", keyword, hint)
    given = _given(path=path, at=at, mount=mount, bind=bind or None, load=load, **{"from": origin})
    return {**given, **more}


def _misspelt(function: str, keyword: str, hint: str) -> None:
    """Note a keyword that a function does not have, at the line of the call."""
    collector = _collector.get()
    if collector is None:
        raise TypeError(f"{function}() got an unexpected keyword argument {keyword!r}; {hint}")
    place = dataclasses.replace(_caller()[0], key=(keyword,))
    message = f"unknown keyword {keyword!r} of {function}"
    collector.problems.append(Problem(slug="unknown-key", message=message, place=place, hint=hint))


@_checked
def Output(
    path: str | PurePath | None = None,
    *,
    name: str | None = None,
    transient: bool = False,
    mount: str | None = None,
    bind: bool = False,
    returns: str | None = None,
    **unknown: Any,
) -> Table:
    """An output channel; without `path` it stays in the store.

    With `returns` (`"json"` or `"pickle"`) it holds what the task's function returns. What is to be
    `bind` is written straight to its path, by a task that is `always` run.
    """
    given = _given(path=path, name=name, mount=mount, bind=bind or None, returns=returns)
    return {**given, **_given(transient=transient or None), **unknown}


@_checked
def Resources(
    *,
    cpu: float | str | None = None,
    memory: float | str | None = None,
    gpu: int | None = None,
    shm: float | str | None = None,
    **others: float | str,
) -> Table:
    """What a task asks of the machine: `cpu` in cores, `memory` and `shm` in bytes or `"2Gi"`.

    Any other name is a resource of one's own: `license=1`.
    """
    return _given(cpu=cpu, memory=memory, gpu=gpu, shm=shm, **others)


@_checked
def Retries(
    count: int,
    *,
    delay: float | str | None = None,
    factor: float | None = None,
    longest: float | str | None = None,
    on: Iterable[int | str] | None = None,
    **unknown: Any,
) -> Table:
    """How often a task is tried again, after which failures, and how long to wait before."""
    causes = _listed(on)
    return _given(count=count, delay=delay, factor=factor, longest=longest, on=causes, **unknown)


@_checked
def Project(
    path: str | PurePath | None = None,
    mode: str = "editable",
    extras: Iterable[str] = (),
    **unknown: Any,
) -> Table:
    """A source tree that enters an image as a wheel; see `projects` of `[image.NAME]`."""
    return {**_given(path=path, mode=mode, extras=_listed(extras) or None), **unknown}


@_checked
def Git(
    url: str | PurePath | None = None,
    *,
    ref: str | None = None,
    package: str | None = None,
    extras: Iterable[str] = (),
    subdirectory: str | PurePath | None = None,
    username: str | Mapping[str, Any] | None = None,
    token: Mapping[str, Any] | None = None,
    **unknown: Any,
) -> Table:
    """A package in a git repository, built into a wheel; see `git` of `[image.NAME]`."""
    names = _given(url=url, ref=ref, package=package, extras=_listed(extras) or None)
    return {
        **names,
        **_given(subdirectory=subdirectory, username=username, token=token),
        **unknown,
    }


@_checked
def secret(
    name: str, *, variable: bool = False, rotation: str | int | None = None, **unknown: Any
) -> Table:
    """A secret by its name, wherever a recipe may have one: its value is read when it is needed.

    Among a task's `secrets` it is a file for the task, or with `variable` a variable.
    """
    how = "variable" if variable else None
    return {**_given(secret=name, rotation=rotation), **_given(**{"as": how}), **unknown}


def _listed(value: Any) -> Any:
    """What can be listed as a list; the rest as it is, for the reader to refuse.

    A set has no order of its own, and a recipe has the same one every time.
    """
    if isinstance(value, str | Mapping | set | frozenset) or not isinstance(value, Iterable):
        return value
    return list(value)


@_checked
def defaults(**values: Any) -> None:
    """Recipe-wide defaults: the keys of `[defaults]`."""
    collector = _collector.get()
    if collector is not None:
        collector.defaults.append((values, _caller()[0]))


@_checked
def command(
    name: str | None = None,
    run: str | Iterable[str | PurePath] | None = None,
    *,
    image: ImageHandle | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    **keys: Any,
) -> TaskHandle:
    """A task that runs a command: a list of items, or a string for `sh -c`.

    `keys` are the further keys of `[task.NAME]`: `matrix`, `params`, `env`, `retries`, ….
    """
    if run is not None and "command" in keys:
        message = "command(): the command is given twice, as `run` and as `command`"
        raise RecipeError(_wrong_call(message, "leave one of them out"))
    handle = TaskHandle(name)
    given = _given(command=_listed(run), image=image, inputs=inputs, outputs=outputs)
    _collect("task", handle, {**given, **keys})
    return handle


@_checked
def template(
    name: str | None = None,
    image: ImageHandle | str | None = None,
    identifier: str | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    **keys: Any,
) -> TaskHandle:
    """A task of a template of an image, which is one of the recipe's or a reference.

    `keys` are the further keys of `[task.NAME]`. Those of `template` itself besides are given there
    as a table, with its `name`, in place of image and identifier.
    """
    handle = TaskHandle(name)
    use = None if image is None and identifier is None else _TemplateOf(image, identifier or "")
    _collect("task", handle, {**_given(template=use, inputs=inputs, outputs=outputs), **keys})
    return handle


@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...


@overload
def task(
    function: str,
    /,
    *,
    name: str | None = None,
    image: ImageHandle | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    **keys: Any,
) -> TaskHandle: ...


@overload
def task(
    *,
    name: str | None = None,
    image: ImageHandle | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...


@_checked
def task(
    function: Callable[..., Any] | str | None = None,
    /,
    *,
    name: str | None = None,
    image: ImageHandle | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Any:
    """Make a function a task, named as the function or `name`.

    `task("package.module:function", …)` names one that the task's environment holds. Arguments
    named in `inputs` or `outputs` get paths, those named as an axis of `matrix` its
    value; the others are parameters, with the defaults that the function or `params` gives.
    """

    def decorate(wrapped: Callable[P, R]) -> TaskFunction[P, R]:
        plain: Any = wrapped.function if isinstance(wrapped, TaskFunction) else wrapped
        handle: TaskFunction[P, R] = TaskFunction(name or _name_of(plain), plain)
        tables = (inputs, outputs, keys.get("matrix"))
        taken = {name for table in tables if isinstance(table, Mapping) for name in table}
        merged: Any = params  # what is no table is the reader's to refuse
        if params is None or isinstance(params, Mapping):
            merged = {**default_params(plain, taken), **(params or {})} or None
        given = _given(image=image, inputs=inputs, outputs=outputs, params=merged)
        _collect("task", handle, {"function": plain, **given, **keys})
        return handle

    if isinstance(function, str):
        named = TaskHandle(name or re.split(r"[:.]", function)[-1])
        given = _given(image=image, inputs=inputs, outputs=outputs, params=params)
        _collect("task", named, {"function": function, **given, **keys})
        return named
    return decorate if function is None else decorate(function)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def default_params(function: Callable[..., Any], taken: Iterable[str]) -> Table:
    """The function's arguments with plain defaults, less those `taken`.

    A default that a recipe could not hold (an object, None) stays the function's own business.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}  # what is no Python function is refused by name when the recipe is checked
    skipped = set(taken)
    return {p.name: p.default for p in parameters if p.name not in skipped and _plain(p.default)}


def _plain(value: Any) -> bool:
    match value:
        case list() | tuple():
            return all(_plain(item) for item in value)
        case dict():
            return all(isinstance(k, str) and _plain(v) for k, v in value.items())
    return type(value) in (str, int, float, bool)
