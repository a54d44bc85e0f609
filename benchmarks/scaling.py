"""How long coopery takes, beside the smallest program that does the same work without memory.

    nox -s bench -- --sizes 100 1000 10000 --shapes independent layered

Every task copies one small file. The floor is a Python script that stats every file and, where told
to, starts every process; that of start-up is an empty Python program. Both run in turn, in one
session, on the same files. Times are medians of the repetitions; a ratio is the median of those of
the pairs, so that a machine that slows down meanwhile tells on neither; memory is the highest peak.
Python's bytecode is kept, as it is of any installed package. Nothing here asserts anything about
time: goals stand beside figures to be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

FLOOR = """
import json, os, subprocess, sys
plan, jobs, chosen = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
for layer in plan:
    for task in layer:
        for path in (*task["reads"], task["output"]):
            try:
                os.stat(path)
            except FileNotFoundError:
                assert chosen, path
if chosen:
    os.makedirs("floor", exist_ok=True)
    running = []
    for layer in plan:
        for task in layer:
            if chosen == ["all"] or task["name"] in chosen:
                if len(running) == jobs:
                    assert running.pop(0).wait() == 0
                running.append(subprocess.Popen(["cp", task["own"], task["output"]]))
        while running:
            assert running.pop(0).wait() == 0
"""
"""argv: plan file, processes at a time, and `all` or the name of a task to run (none: no-op).

It writes into a folder of its own, so that neither disturbs the other.
"""

WIDTH = 100
"""Tasks per layer of the layered shape."""
NEEDS = 3
"""How many tasks of the layer above a layered task reads."""

Parents = list[tuple[int, ...]]


def independent(size: int) -> Parents:
    """No task needs another."""
    return [() for _ in range(size)]


def chain(size: int) -> Parents:
    """Each task needs the one before."""
    return [(index - 1,) if index else () for index in range(size)]


def layered(size: int) -> Parents:
    """Layers of `WIDTH` tasks, each reading `NEEDS` of the layer above."""
    return [
        tuple(index - index % WIDTH - WIDTH + (index + k) % WIDTH for k in range(NEEDS))
        if index >= WIDTH
        else ()
        for index in range(size)
    ]


SHAPES: Mapping[str, Callable[[int], Parents]] = {
    "independent": independent,
    "chain": chain,
    "layered": layered,
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Median seconds and the highest peak memory (bytes) of some repetitions."""

    seconds: float
    memory: int


Pair = tuple[Figure, Figure]
"""What coopery took, and the floor just after it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what was done, how often, and what it took beside its floor."""

    what: str
    pairs: Sequence[Pair]
    goal: float | None = None

    def seconds(self, side: int) -> float:
        """The median time of coopery (0) or of the floor (1)."""
        return statistics.median(pair[side].seconds for pair in self.pairs)

    def __str__(self) -> str:
        ratio = statistics.median(ours.seconds / floor.seconds for ours, floor in self.pairs)
        memory = [max(pair[side].memory for pair in self.pairs) / 1e6 for side in (0, 1)]
        cells = (
            f"{self.what:<34}",
            f"{len(self.pairs):>5}",
            f"{self.seconds(0) * 1000:>10.1f}",
            f"{self.seconds(1) * 1000:>10.1f}",
            f"{ratio:>8.2f}",
            f"{'' if self.goal is None else f'<= {self.goal:g}':>8}",
            f"{memory[0]:>8.0f}",
            f"{memory[1]:>8.0f}",
        )
        return " ".join(cells)


HEADER = (
    f"{'':<34} {'times':>5} {'ours ms':>10} {'floor ms':>10} {'ratio':>8} {'goal':>8} "
    f"{'MB':>8} {'floor MB':>8}"
)

GOALS = {
    "--version": 5.0,
    "list of ten tasks": 10.0,
    "1,000 layered, no-op": 2.5,
    "10,000 independent, no-op": 2.0,
    "1,000 independent, fresh": 1.8,
    "1,000 chain, fresh": 1.8,
    "1,000 layered, fresh": 1.8,
}
"""How many times its floor a thing may take; at 10,000 tasks, 100 MB; growth at most 1.3."""


def environment(folder: Path, home: Path) -> dict[str, str]:
    """Variables for both sides: bytecode is written, into a folder that one session shares."""
    mine = {"COOPERY_HOME": str(home), "PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode")}
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **mine}


def once(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Figure:
    """Run a command to its end, which must be good."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: {said.read().decode('utf-8', 'replace')}")
    return Figure(seconds=seconds, memory=usage.ru_maxrss * 1024)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One generated project in a folder of its own, with a home beside it."""

    folder: Path
    parents: Parents
    jobs: int
    repeat: int

    @property
    def env(self) -> dict[str, str]:
        return environment(self.folder, home=self.folder / "home")

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def write(self) -> None:
        """The recipe, its inputs, and the floor's plan of the same work."""
        (self.project / "in").mkdir(parents=True)
        tables, layers = [], list[list[dict[str, object]]]()
        depth: list[int] = []
        for index, parents in enumerate(self.parents):
            (self.project / "in" / f"{index}.txt").write_text(f"{index}\n")
            lines = [
                f"[task.t{index}]",
                'command = ["cp", "{inputs.own}", "{outputs.made}"]',
                f'inputs.own = "in/{index}.txt"',
                *(f'inputs.p{k} = "build/{parent}.txt"' for k, parent in enumerate(parents)),
                f'outputs.made = "build/{index}.txt"',
            ]
            tables.append("\n".join(lines))
            own = f"in/{index}.txt"
            depth.append(1 + max((depth[parent] for parent in parents), default=-1))
            if depth[index] == len(layers):
                layers.append([])
            task = {"name": f"t{index}", "own": own, "output": f"floor/{index}.txt"}
            reads = [own, *(f"floor/{parent}.txt" for parent in parents)]
            layers[depth[index]].append({**task, "reads": reads})
        (self.project / "recipe.toml").write_text("\n\n".join(tables) + "\n")
        (self.folder / "floor.py").write_text(FLOOR)
        (self.folder / "plan.json").write_text(json.dumps(layers))

    def coopery(self, *arguments: str) -> Figure:
        """One call of coopery."""
        return once([*COOPERY, *arguments], self.project, self.env)

    def run(self) -> Figure:
        """One `coopery run`."""
        return self.coopery("run", "-q", "-j", str(self.jobs))

    def floor(self, *chosen: str) -> Figure:
        """One call of the floor script."""
        command = [sys.executable, str(self.folder / "floor.py"), str(self.folder / "plan.json")]
        return once([*command, str(self.jobs), *chosen], self.project, self.env)

    def clean(self) -> None:
        """As if nothing had ever run."""
        for leftover in (self.project / "build", self.project / "floor", self.folder / "home"):
            shutil.rmtree(leftover, ignore_errors=True)

    def rows(self, label: str) -> Iterator[Row]:
        """Fresh, no-op and one changed leaf."""
        fresh = []
        for _ in range(max(1, min(self.repeat, 3000 // len(self.parents)))):
            self.clean()
            fresh.append((self.run(), self.floor("all")))
        yield row(f"{label}, fresh", fresh)
        yield row(f"{label}, no-op", [(self.run(), self.floor()) for _ in range(self.repeat)])
        changed = [self._changed(turn) for turn in range(self.repeat)]
        yield row(f"{label}, one leaf changed", changed)

    def _changed(self, turn: int) -> Pair:
        last = len(self.parents) - 1
        (self.project / "in" / f"{last}.txt").write_text(f"{last}, changed {turn}\n")
        return self.run(), self.floor(f"t{last}")


def row(what: str, pairs: Sequence[Pair]) -> Row:
    """A line of the table, with the goal that is set for it."""
    return Row(what=what, pairs=pairs, goal=GOALS.get(what))


def command_line() -> list[str]:
    """The installed command, else the module."""
    script = Path(sys.executable).parent / "coopery"
    return [str(script)] if script.exists() else [sys.executable, "-m", "coopery"]


COOPERY = command_line()


def start_up(folder: Path, repeat: int) -> Iterator[Row]:
    """`--version` and `list` of ten tasks, beside an empty Python program."""
    bench = Bench(folder=folder, parents=independent(10), jobs=1, repeat=repeat)
    bench.write()
    empty = [sys.executable, "-c", "pass"]
    for what, argument in (("--version", "--version"), ("list of ten tasks", "list")):
        # The first call writes the bytecode.
        bench.coopery(argument)
        once(empty, folder, bench.env)
        pairs = [
            (bench.coopery(argument), once(empty, folder, bench.env)) for _ in range(repeat * 4)
        ]
        yield row(what, pairs)


def growth(rows: Mapping[tuple[str, str, int], Row], sizes: Sequence[int]) -> Iterator[str]:
    """What a task costs at each size, beside what it costs at the size before; 1 is linear."""
    for shape, what in dict.fromkeys((shape, what) for shape, what, _ in rows):
        for small, large in pairwise(sorted(set(sizes))):
            per_task = [
                [rows[shape, what, size].seconds(side) / size for size in (small, large)]
                for side in (0, 1)
            ]
            ours, floor = (after / before for before, after in per_task)
            label = f"{shape}, {what}, {small:,} to {large:,}"
            goal = "<= 1.3" if small >= 1000 else ""
            yield f"{label:<50} {ours:>8.2f} {floor:>8.2f} {goal:>8}".rstrip()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000], metavar="N")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {version}, {given.jobs} processes at a time")
    print(HEADER, flush=True)
    rows: dict[tuple[str, str, int], Row] = {}
    with tempfile.TemporaryDirectory(prefix="coopery-bench-") as name:
        for line in start_up(Path(name) / "start-up", given.repeat):
            print(line, flush=True)
        for size in given.sizes:
            for shape in given.shapes:
                folder = Path(name) / f"{shape}-{size}"
                bench = Bench(
                    folder=folder,
                    parents=SHAPES[shape](size),
                    jobs=given.jobs,
                    repeat=given.repeat,
                )
                bench.write()
                for line in bench.rows(f"{size:,} {shape}"):
                    print(line, flush=True)
                    rows[shape, line.what.partition(", ")[2], size] = line
                shutil.rmtree(folder)
    if len(set(given.sizes)) > 1:
        title = "growth: cost of a task, by that at the smaller size"
        print(f"\n{title:<50} {'ours':>8} {'floor':>8}")
        for text in growth(rows, given.sizes):
            print(text)


if __name__ == "__main__":
    main()
