"""Recipes of a running program: of a script, or of a notebook, cell by cell.

from coopery import Output, Recipe

recipe = Recipe()

@recipe.task(outputs={"score": Output(returns="json")})
def fit(depth: int = 3):
    return {"score": depth / 2}

recipe.run("fit").value("fit.score")
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from coopery import authoring, session, shapes
from coopery.authoring import Collector, ImageHandle, TaskHandle
from coopery.errors import (
    CooperyError,
    KeyPath,
    Place,
    Problem,
    RecipeError,
    nearest,
)
from coopery.model import ExitCode
from coopery.opening import Request
from coopery.options import Settings, read_settings
from coopery.plugins import Plugins
from coopery.recipes import Document
from coopery.results import Results
from coopery.steps import Outcome, State

_OURS = {"file", "document", "lock", "cwd", "bases", "targets", "sets"}
_RUN = {field.name for field in dataclasses.fields(Request)} - _OURS
"""What a run is asked by keywords, besides the options of plugins."""


class RunFailed(CooperyError):
    """A run in which something failed; `results` are those of the whole run."""

    exit_code = 1

    def __init__(self, results: Results, *problems: Problem) -> None:
        super().__init__(*problems)
        self.results = results


class Recipe:
    """A recipe whose images and tasks a program declares by the same calls as a recipe file.

    It is called `name`: by default as the script that runs, or `notebook`. Its lock stands beside
    it (`NAME.lock`), and its paths are relative to `root`: by default the script's folder, or the
    current one. What is declared again under one name, as when a cell is run again, replaces what
    was there.
    """

    def __init__(self, name: str | None = None, *, root: str | Path | None = None) -> None:
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        file = Path(os.path.realpath(script)) if script else Path.cwd() / "notebook.py"
        self.root = Path(os.path.realpath(root)) if root is not None else file.parent
        if name is not None and not (
            isinstance(name, str) and re.fullmatch(r"[\w-][\w. -]*", name)
        ):
            message = f"{name!r} cannot be the name of a recipe: files are called after it"
            hint = "write letters, digits, `-` and `_`; another folder is named by `root`"
            raise RecipeError(Problem(slug="wrong-value", message=message, hint=hint))
        self.file = self.root / (f"{name}.py" if name is not None else file.name)
        self._collector = Collector()

    def __repr__(self) -> str:
        return f"<recipe {self.file.stem}>"

    # What follows is `Any`: its signatures are those of the calls of the same names.

    @property
    def Image(self) -> Any:
        """`coopery.Image`, for this recipe."""
        return self._collecting(authoring.Image)

    @property
    def task(self) -> Any:
        """`coopery.task`, for this recipe."""
        return self._collecting(authoring.task)

    @property
    def command(self) -> Any:
        """`coopery.command`, for this recipe."""
        return self._collecting(authoring.command)

    @property
    def defaults(self) -> Any:
        """`coopery.defaults`, for this recipe."""
        return self._collecting(authoring.defaults)

    @property
    def family(self) -> Any:
        """`coopery.family`, for this recipe."""
        return self._collecting(authoring.family)

    @property
    def registries(self) -> Any:
        """`coopery.registries`, for this recipe."""
        return self._collecting(authoring.registries)

    def run(
        self,
        *targets: str | TaskHandle,
        sets: Mapping[str, Any] | None = None,
        check: bool = True,
        **options: Any,
    ) -> Results:
        """Bring these tasks, or all, and what they need up to date, as `coopery run` does.

        `sets` are parameters by `TASK.PARAM`; `options` are those of the command line, such as
        `runtime="docker"`, `jobs=4`, `force=True`, `home=…`. Raises RecipeError and MachineError
        as the command line tells them, and with `check` RunFailed when a task failed.
        """
        request, plugins, settings = self._asked(targets, sets, options)
        done = session.run(request, plugins, settings)
        results = Results(done=done, plugins=plugins, settings=settings)
        if check and done.report.exit_code:
            failed = [o for o in done.report.outcomes.values() if o.state is not State.SUCCEEDED]
            problems = [_told(outcome, p) for outcome in failed for p in outcome.problems]
            raise RunFailed(results, *(problems or [_stopped()]))
        return results

    def forecast(
        self, *targets: str | TaskHandle, sets: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, str]:
        """What `run` would do, by step: `cached`, `run` or `depends on X`; nothing is done."""
        request, plugins, settings = self._asked(targets, sets, options)
        found = session.preview(request, plugins, settings)[1]
        return {f.step: f"depends on {f.on}" if f.on else f.verdict for f in found}

    def _asked(
        self,
        targets: Sequence[str | TaskHandle],
        sets: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> tuple[Request, Plugins, Settings]:
        if not self.root.is_dir():
            message = f"there is no folder {self.root}, in which the recipe would be"
            hint = "make it first, or name another as `root`"
            raise RecipeError(Problem(slug="no-folder", message=message, hint=hint))
        plugins = Plugins.discover()
        kinds = plugins.declare_options()
        flags = {f.name: kind for kind in kinds for f in dataclasses.fields(kind)}
        given = argparse.Namespace()
        asked: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, value in options.items():
            if name in _RUN:
                asked[name] = _typed(value, Request, name, problems)
            elif name in flags:
                found = _typed(value, flags[name], name, problems)
                setattr(given, f"{flags[name].__name__}.{name}", found)
            else:
                near = nearest(name, (*_RUN, *flags))
                message = f"there is no option {name!r}"
                problems.append(Problem(slug="bad-option", message=message, hint=near))
        texts = tuple(
            f"{name}={_as_toml(value, name, problems)}" for name, value in (sets or {}).items()
        )
        names = tuple(_name_of(target, problems) for target in targets)
        if problems:
            raise RecipeError(*problems)
        request = Request(
            file=str(self.file),
            document=self.document(),
            targets=names,
            sets=texts,
            cwd=self.root,
            **asked,
        )
        return request, plugins, read_settings(kinds, given, self.root)

    def document(self) -> Document:
        """What was declared so far, as the reader of a recipe file would have it."""
        collector = _latest(self._collector)
        data, places, problems = collector.finish()

        def locate(key: KeyPath) -> Place:
            for end in range(len(key), 0, -1):
                if key[:end] in places:
                    return dataclasses.replace(places[key[:end]], key=key)
            return Place(key=key)

        return Document(data=data, locate=locate, problems=tuple(problems))

    def _collecting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, whose tables this recipe collects; so does the decorator that it returns."""

        def collect(*args: Any, **kwargs: Any) -> Any:
            with authoring.collecting(self._collector):
                found = call(*args, **kwargs)
            is_handle = isinstance(found, ImageHandle | TaskHandle)
            return self._collecting(found) if callable(found) and not is_handle else found

        return collect


def _told(outcome: Outcome, problem: Problem) -> Problem:
    """A step's problem, with its name and its log."""
    log = f"\nits log: {outcome.log}" if outcome.log else ""
    return dataclasses.replace(problem, message=f"{outcome.step}: {problem.message}{log}")


def _stopped() -> Problem:
    return Problem(slug="cancelled", message="the run was stopped")


def _typed(value: Any, kind: type, name: str, problems: list[Problem]) -> Any:
    """An option's value as the field of this name of a dataclass has it."""
    known = {"Document": Any, "ExitCode": ExitCode}  # what only type checkers import there
    hint = typing.get_type_hints(kind, localns=known, include_extras=True)[name]
    if isinstance(hint, type) and issubclass(hint, Enum):
        found = shapes.convert(str(value), Literal[tuple(hint)], (name,), problems)
        return found if found is shapes.MISSING else hint(found)
    return shapes.convert(value, hint, (name,), problems)


def _name_of(target: object, problems: list[Problem]) -> str:
    name = target.name if isinstance(target, TaskHandle) else target
    if not isinstance(name, str):
        message = f"{target!r} is no task of the recipe"
        hint = "name tasks as text, or by what `recipe.task` or `recipe.command` returned"
        problems.append(Problem(slug="unknown-target", message=message, hint=hint))
    return str(name)


def _as_toml(value: Any, name: str, problems: list[Problem]) -> str:
    """A parameter's value as `--set` takes it."""
    match value:
        case bool() | int() | str():
            return json.dumps(value)
        case float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_as_toml(item, name, problems) for item in value)}]"
    message = f"{name}: a {type(value).__name__} cannot be given to `sets`"
    hint = "give text, a number, true or false, or a list; or change it where the task is declared"
    problems.append(Problem(slug="bad-set", message=message, hint=hint))
    return "0"


def _latest(collector: Collector) -> Collector:
    """The last call of each name; images that nothing is bound to any more are left out."""
    last: dict[tuple[str, object], Any] = {}
    for call in collector.calls:
        name = call.handle.name or authoring.bound_name(call.handle, call.scope)
        if name is not None or call.noun != "image":
            last[call.noun, name or id(call)] = call
    used = {id(call.table.get("image")) for call in last.values()}
    used |= {id(table.get("image")) for table, _ in collector.defaults}
    own = [
        call for call in collector.calls if call not in last.values() and id(call.handle) in used
    ]
    logins = {_host_of(login): (login, place) for login, place in collector.registries}
    return Collector(
        calls=[*own, *last.values()],
        defaults=collector.defaults[-1:],
        registries=list(logins.values()),
    )


def _host_of(login: object) -> str:
    return str(login.get("host") if isinstance(login, Mapping) else login)
