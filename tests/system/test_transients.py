"""Transient outputs against a brute-force model: random graphs, selections and failures (S4)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coopery.dependencies import ImagePlan
from coopery.errors import RecipeError, StepError, problem
from coopery.hooks import hookimpl
from coopery.opening import Request
from coopery.options import CoreOptions, Selection, Settings, Sourced
from coopery.plugins import Plugins
from coopery.session import preview, run
from coopery.steps import Made, State, Step, Workspace

GRAPHS = 200
RUNS = 6


@dataclass
class Toy:
    """A runtime that writes each output at once, fails where it is told to, and counts."""

    failing: set[str] = field(default_factory=set)
    performed: Counter[str] = field(default_factory=Counter)

    def plugin(self) -> object:
        @hookimpl
        def runtime_names() -> Sequence[str]:
            return ["toy"]

        @hookimpl
        def plan_image(runtime: str) -> ImagePlan | None:
            return ImagePlan(steps=(), need=None) if runtime == "toy" else None

        @hookimpl
        def perform(step: Step, workspace: Workspace) -> Made | None:
            self.performed[step.name] += 1
            for path in workspace.inputs.values():
                assert path.read_text()
            if step.name in self.failing:
                raise StepError(problem("task-failed", "told to fail"))
            outputs = {}
            for output in step.outputs:
                outputs[output] = workspace.folder / output
                outputs[output].write_text(f"{step.name}.{output}\n")
            return Made(outputs=outputs)

        return SimpleNamespace(runtime_names=runtime_names, plan_image=plan_image, perform=perform)


Output = tuple[str, str]


@dataclass(frozen=True)
class Graph:
    """Tasks in order, with what each reads and writes."""

    reads: Mapping[str, tuple[Output, ...]]
    writes: Mapping[str, tuple[str, ...]]
    transient: frozenset[Output]

    @classmethod
    def random(cls, dice: random.Random) -> Graph:
        names = [f"t{number}" for number in range(dice.randint(2, 9))]
        writes = {n: tuple(f"o{i}" for i in range(dice.choice([1, 1, 2]))) for n in names}
        every = [(n, o) for n in names for o in writes[n]]
        reads = {}
        for index, name in enumerate(names):
            before = [output for output in every if output[0] in names[:index]]
            reads[name] = tuple(sorted(dice.sample(before, min(len(before), dice.randint(0, 3)))))
        transient = frozenset(output for output in every if dice.random() < 0.6)
        return cls(reads, writes, transient)

    def recipe(self) -> str:
        lines = ["[defaults]", "runtime = 'toy'"]
        for name, reads in self.reads.items():
            lines += [f"[task.{name}]", f"command = ['{name}']"]
            for number, (maker, output) in enumerate(reads):
                lines.append(f"inputs.i{number} = {{ from = '{maker}.{output}' }}")
            for output in self.writes[name]:
                transient = str((name, output) in self.transient).lower()
                lines.append(f"outputs.{output} = {{ name = '{output}', transient = {transient} }}")
        return "\n".join(lines) + "\n"

    def needs(self, name: str) -> list[str]:
        return list(dict.fromkeys(maker for maker, _ in self.reads[name]))

    def above(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack += self.needs(name)
        return found

    def below(self, names: Iterable[str]) -> set[str]:
        return {name for name in self.reads if self.above([name]) & set(names)}

    def chosen(self, selection: Selection, targets: Sequence[str]) -> set[str]:
        match selection:
            case Selection.ONLY:
                return set(targets)
            case Selection.NEEDS_ONLY:
                return self.above(targets) - set(targets)
            case Selection.DOWNSTREAM:
                return self.below(targets)
        return self.above(targets)

    def after(self, name: str, chosen: set[str]) -> set[str]:
        """The chosen tasks that a task comes after, also through others."""
        found: set[str] = set()
        for need in self.needs(name):
            found |= {need} if need in chosen else self.after(need, chosen)
        return found


@dataclass
class Model:
    """What the rules say, one task after the other (semantics 4, 6, 20, 21)."""

    graph: Graph
    order: Sequence[str]
    """In which of two tasks that are ready the first one starts: as the plan has them."""
    made: set[str] = field(default_factory=set)
    kept: set[Output] = field(default_factory=set)

    def run(self, chosen: set[str], failing: set[str]) -> tuple[dict[str, str], Counter[str]]:
        """The states of the chosen tasks, and how often each task was performed.

        Raises LookupError when something that is read was never made.
        """
        graph = self.graph
        order = [name for name in self.order if name in chosen]
        for name in order:
            if any(need not in chosen and need not in self.made for need in graph.needs(name)):
                raise LookupError(name)
        readers = Counter(output for name in order for output in set(graph.reads[name]))
        passing = {output for output in readers if output in graph.transient}
        states: dict[str, str] = {}
        performed: Counter[str] = Counter()

        def make_again(name: str) -> bool:
            # While a task is made again for its bytes, it is a reader once more.
            readers.update(set(graph.reads[name]))
            good = make(name)
            stop_reading(name)
            return good

        def make(name: str) -> bool:
            for maker, output in graph.reads[name]:
                if (maker, output) not in self.kept and not make_again(maker):
                    return False
            performed[name] += 1
            if name in failing:
                return False
            self.made.add(name)
            for output in graph.writes[name]:
                # One whose readers have all ended is not kept, though another one was wanted.
                if (name, output) not in passing or readers[name, output]:
                    self.kept.add((name, output))
            return True

        def end(name: str, state: str) -> None:
            states[name] = state
            if state != "skipped":
                stop_reading(name)

        def stop_reading(name: str) -> None:
            for output in set(graph.reads[name]):
                readers[output] -= 1
                if not readers[output] and output in passing:
                    self.kept.discard(output)

        def recall() -> bool:
            """End the first task that need not be performed; False when there is none."""
            for name in order:
                before = [states.get(other) for other in graph.after(name, chosen)]
                if name in states or None in before:
                    continue
                if set(before) - {"succeeded"} or name in self.made:
                    end(name, "skipped" if set(before) - {"succeeded"} else "succeeded")
                    return True
            return False

        while len(states) < len(order):
            # One at a time is performed: first all that can be recalled is.
            if recall():
                continue
            ready = (
                n for n in order if n not in states and graph.after(n, chosen) <= states.keys()
            )
            name = next(ready)
            end(name, "succeeded" if make(name) else "failed")
        return states, performed


def settings(home: Path) -> Settings:
    values = {"home": Sourced(str(home), "flag"), "jobs": Sourced(1, "flag")}
    return Settings({CoreOptions: {**values, "runtime": Sourced(None, "default")}})


def kept(home: Path) -> set[Output]:
    """The outputs whose bytes are in the home folder."""
    texts = [path.read_text().strip() for path in (home / "objects").glob("??/*")]
    return {(name, output) for name, _, output in (text.partition(".") for text in texts)}


def cases(seed: int) -> tuple[Graph, list[tuple[Selection, list[str], set[str]]]]:
    """A graph, and runs of it: a selection, its targets, and the tasks that fail."""
    dice = random.Random(seed)
    graph = Graph.random(dice)
    names = list(graph.reads)
    runs = []
    for _ in range(RUNS):
        selection = dice.choice([Selection.NEEDED, Selection.NEEDED, *Selection])
        targets = dice.sample(names, dice.randint(1, len(names)))
        failing = {name for name in names if dice.random() < 0.15}
        runs.append((selection, targets, failing))
    return graph, runs


@pytest.mark.parametrize("part", range(8))
def test_disk_use_and_reruns_are_those_of_the_model(memory_path: Path, part: int) -> None:
    errors = 0
    for seed in range(part, GRAPHS, 8):
        folder = memory_path / str(seed)
        folder.mkdir()
        graph, runs = cases(seed)
        (folder / "recipe.toml").write_text(graph.recipe())
        home = folder / "home"
        toy = Toy()
        plugins = plugins_with(toy)
        whole, _ = preview(Request(cwd=folder), plugins, settings(folder / "other"))
        model = Model(graph, list(whole.steps))
        for selection, targets, failing in runs:
            toy.failing, toy.performed = failing, Counter()
            request = Request(targets=tuple(targets), selection=selection, cwd=folder)
            told = f"graph {seed}: {selection} {targets}, failing {sorted(failing)}"
            try:
                states, performed = model.run(graph.chosen(selection, targets), failing)
            except LookupError:
                errors += 1
                with pytest.raises(RecipeError) as error:
                    run(request, plugins, settings(home), observe=quiet)
                assert {p.slug for p in error.value.problems} == {"not-made"}, told
                continue
            foretold = {f.step: f.verdict for f in preview(request, plugins, settings(home))[1]}
            done = run(request, plugins, settings(home), observe=quiet)
            found = {n: str(done.report.outcomes[n].state) for n in states}
            assert found == states, told
            assert toy.performed == performed, told
            assert kept(home) == model.kept, told
            check_forecast(foretold, states, performed, told)
    assert errors, "no selection lacked anything: the cases are too tame"


def check_forecast(
    foretold: Mapping[str, str],
    states: Mapping[str, str],
    performed: Mapping[str, int],
    told: str,
) -> None:
    """`cached` and `run` are promises, `depends` is none; failures are not foreseen."""
    if set(states.values()) != {"succeeded"}:
        return
    for name, verdict in foretold.items():
        match verdict:
            case "cached" | "taken":
                assert not performed[name], f"{told}: {name} was to be {verdict}"
            case "run":
                assert performed[name], f"{told}: {name} was to run"
    for name in performed:
        assert foretold.get(name) in ("run", "depends"), f"{told}: {name} was not foretold"


def quiet(events: Sequence[Any]) -> None:
    """Nobody listens."""


def plugins_with(toy: Toy) -> Plugins:
    import coopery_commands
    import coopery_scheduler
    import coopery_store
    import coopery_toml

    return Plugins(
        [
            ("commands", coopery_commands),
            ("scheduler", coopery_scheduler),
            ("store", coopery_store),
            ("toml", coopery_toml),
            ("toy", toy.plugin()),
        ]
    )


def test_the_model_and_the_engine_can_disagree(tmp_path: Path) -> None:
    """The comparison sees what it should: bytes that nobody dropped."""
    graph = Graph({"a": (), "b": (("a", "o"),)}, {"a": ("o",), "b": ("o",)}, frozenset())
    (tmp_path / "recipe.toml").write_text(graph.recipe())
    other = Model(Graph(graph.reads, graph.writes, frozenset({("a", "o")})), ["a", "b"])
    other.run({"a", "b"}, set())
    done = run(Request(cwd=tmp_path), plugins_with(Toy()), settings(tmp_path / "home"), quiet)
    assert {o.state for o in done.report.outcomes.values()} == {State.SUCCEEDED}
    assert kept(tmp_path / "home") != other.kept
