"""What a run of a recipe made, for the program that declared it."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import session
from coopery.errors import Problem, RecipeError, StepError, nearest

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery.plugins import Plugins
    from coopery.steps import Identity, Outcome, Store


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
        """What a task's function returned, by `TASK.OUTPUT`; of a task with a matrix, by instance,
        also where the run had one of these alone.

        Raises RecipeError (`unknown-output`, `no-value`), StepError (`output-gone`).
        """
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
        is_one = "@" in output or not any("@" in name for name in found)
        return found[output.rpartition(".")[0]] if is_one else found

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
            hint = nearest(output, known)
            if any(channel in steps[name].outputs for name in names):
                ended = [
                    f"{n}: {self.outcomes[n].state.value}" for n in names if n in self.outcomes
                ]
                message += f" ({', '.join(ended[:3])})" if ended else ""
                hint = "it is there once the task has succeeded in this run"
            raise RecipeError(Problem(slug="unknown-output", message=message, hint=hint))
        return found


def _bytes_of(store: Store, name: str, identity: Identity) -> Path:
    store.lease([identity])
    path = store.find(identity)
    if path is None:
        message = f"the bytes of {name} are gone"
        hint = "it is transient, or was dropped to keep the home folder small: run it with force"
        raise StepError(Problem(slug="output-gone", message=message, hint=hint))
    return path
