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
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import authoring, session
from coopery.authoring import Collector, ImageHandle, TaskHandle
from coopery.errors import (
    CooperyError,
    KeyPath,
    Place,
    Problem,
    RecipeError,
    StepError,
    nearest,
)
from coopery.opening import Request
from coopery.options import Settings, read_settings
from coopery.plugins import Plugins
from coopery.recipes import Document
from coopery.steps import Outcome, State

if TYPE_CHECKING:
    from coopery.steps import Identity, Store

_RUN = {field.name for field in dataclasses.fields(Request)} - {"file", "document", "lock", "cwd"}
_RUN -= {"targets", "sets"}
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
        plugins = Plugins.discover()
        kinds = plugins.declare_options()
        flags = {f.name: kind.__name__ for kind in kinds for f in dataclasses.fields(kind)}
        given = argparse.Namespace()
        asked = {}
        for name, value in options.items():
            if name in _RUN:
                asked[name] = value
            elif name in flags:
                setattr(given, f"{flags[name]}.{name}", value)
            else:
                hint = nearest(name, (*_RUN, *flags))
                message = f"there is no option {name!r}"
                raise RecipeError(Problem(slug="bad-option", message=message, hint=hint))
        request = Request(
            file=str(self.file),
            document=self.document(),
            targets=tuple(str(getattr(target, "name", target)) for target in targets),
            sets=tuple(f"{name}={_as_toml(value)}" for name, value in (sets or {}).items()),
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


@dataclass(frozen=True, kw_only=True)
class Results:
    """How a run of a recipe went, and what it made."""

    done: session.Done
    plugins: Plugins
    settings: Settings

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for outcome in self.outcomes.values():
            state = "cached" if outcome.cached else outcome.state.value
            counts[state] = counts.get(state, 0) + 1
        return f"<run {', '.join(f'{n} {state}' for state, n in counts.items())}>"

    @property
    def exit_code(self) -> int:
        """What `coopery run` would have ended with."""
        return self.done.report.exit_code

    @property
    def record(self) -> Mapping[str, Any]:
        """The run's record, as `coopery show --json` has it."""
        return self.done.record

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """How each step ended, by name."""
        return self.done.report.outcomes

    def value(self, output: str) -> Any:
        """What a task's function returned, by `TASK.OUTPUT`; of a task with a matrix, by instance.

        Raises RecipeError (`unknown-output`, `no-value`), StepError (`output-gone`).
        """
        import json
        import pickle

        found = {}
        for name, channel, identity in self._named(output):
            form = self.done.plan.recipe.tasks[name.partition("@")[0]].outputs[channel].returns
            if form is None:
                message = f"{output} is no returned value, but a file or folder"
                hint = 'copy it with `get`, or write returns = "json" at the output'
                raise RecipeError(Problem(slug="no-value", message=message, hint=hint))
            with session.open_store(self.plugins, self.settings) as store:
                content = _bytes_of(store, name, identity).read_bytes()
            found[name] = json.loads(content) if form == "json" else pickle.loads(content)
        return found[output.rpartition(".")[0]] if "@" in output or len(found) == 1 else found

    def get(self, output: str, destination: str | Path) -> Path:
        """Copy one output, by `TASK.OUTPUT`, to a path that is not there yet.

        Raises RecipeError (`unknown-output`, `path-exists`), StepError (`output-gone`).
        """
        target = Path(destination)
        if os.path.lexists(target):
            message = f"there is a {target} already"
            hint = "remove it, or name another place"
            raise RecipeError(Problem(slug="path-exists", message=message, hint=hint))
        (name, _, identity), *others = self._named(output)
        if others:
            message = f"{output} is {len(others) + 1} outputs"
            hint = f"name one: {name}.{output.rpartition('.')[2]}"
            raise RecipeError(Problem(slug="unknown-output", message=message, hint=hint))
        with session.open_store(self.plugins, self.settings) as store:
            store.copy(_bytes_of(store, name, identity), target)
        return target

    def _named(self, output: str) -> list[tuple[str, str, Identity]]:
        """The step, channel and identity of each output that a text names."""
        task, _, channel = output.rpartition(".")
        steps = self.done.plan.steps
        names = [name for name in steps if task in (name, name.partition("@")[0])]
        known = [f"{n}.{o}" for n, s in steps.items() if s.work.kind == "task" for o in s.outputs]
        found = [
            (name, channel, self.outcomes[name].outputs[channel])
            for name in names
            if name in self.outcomes and channel in self.outcomes[name].outputs
        ]
        if not found:
            message = f"this run has no output {output!r}"
            raise RecipeError(
                Problem(slug="unknown-output", message=message, hint=nearest(output, known))
            )
        return found


def _bytes_of(store: Store, name: str, identity: Identity) -> Path:
    store.lease([identity])
    path = store.find(identity)
    if path is None:
        message = f"the bytes of {name} are gone"
        hint = "it is transient, or was dropped to keep the home folder small: run it with force"
        raise StepError(Problem(slug="output-gone", message=message, hint=hint))
    return path


def _told(outcome: Outcome, problem: Problem) -> Problem:
    """A step's problem, with its name and its log."""
    log = f"\nits log: {outcome.log}" if outcome.log else ""
    return dataclasses.replace(problem, message=f"{outcome.step}: {problem.message}{log}")


def _stopped() -> Problem:
    return Problem(slug="cancelled", message="the run was stopped")


def _as_toml(value: Any) -> str:
    """A parameter's value as `--set` takes it: JSON's text, lists and numbers are TOML's too."""
    import json

    if isinstance(value, Mapping):
        message = "a table cannot be given to `sets`"
        hint = "change it where the task is declared"
        raise RecipeError(Problem(slug="bad-set", message=message, hint=hint))
    return json.dumps(value)


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
    return Collector(calls=[*own, *last.values()], defaults=collector.defaults[-1:])
