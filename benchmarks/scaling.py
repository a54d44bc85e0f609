"""How long coopery takes, beside the smallest program that does the same work without memory.

    nox -s bench -- --sizes 100 1000 10000 --shapes independent layered

Every task copies one small file. The floor is a Python script that stats every file and, where told
to, starts every process. Both run in turn, in one session, on the same files; a figure is the
median of its repetitions. Nothing here asserts anything about time.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FLOOR = """
import json, os, subprocess, sys
plan, jobs, chosen = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
for layer in plan:
    for task in layer:
        for path in task["reads"]:
            if not chosen or path == task["own"]:
                os.stat(path)
        if not chosen:
            os.stat(task["output"])
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what coopery took, and its floor."""

    what: str
    ours: Figure
    floor: Figure

    def __str__(self) -> str:
        ratio = self.ours.seconds / self.floor.seconds
        cells = (
            f"{self.what:<34}",
            f"{self.ours.seconds * 1000:>10.1f}",
            f"{self.floor.seconds * 1000:>10.1f}",
            f"{ratio:>8.2f}",
            f"{self.ours.memory / 1e6:>8.0f}",
            f"{self.floor.memory / 1e6:>8.0f}",
        )
        return " ".join(cells)


HEADER = f"{'':<34} {'ours ms':>10} {'floor ms':>10} {'ratio':>8} {'MB':>8} {'floor MB':>8}"


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


def median(figures: Sequence[Figure]) -> Figure:
    """The median time and the highest memory."""
    return Figure(
        seconds=statistics.median(figure.seconds for figure in figures),
        memory=max(figure.memory for figure in figures),
    )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One generated project in a folder of its own, with a home beside it."""

    folder: Path
    parents: Parents
    jobs: int
    repeat: int

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "COOPERY_HOME": str(self.folder / "home")}

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

    def rows(self, label: str) -> list[Row]:
        """Fresh, no-op and one changed leaf."""
        fresh: list[tuple[Figure, Figure]] = []
        for _ in range(self.repeat if len(self.parents) <= 100 else 1):
            self.clean()
            fresh.append((self.run(), self.floor("all")))
        idle = [(self.run(), self.floor()) for _ in range(self.repeat)]
        changed = [self._changed(turn) for turn in range(self.repeat)]
        found = {"fresh": fresh, "no-op": idle, "one leaf changed": changed}
        return [
            Row(
                what=f"{label}, {what}",
                ours=median([ours for ours, _ in pairs]),
                floor=median([floor for _, floor in pairs]),
            )
            for what, pairs in found.items()
        ]

    def _changed(self, turn: int) -> tuple[Figure, Figure]:
        last = len(self.parents) - 1
        (self.project / "in" / f"{last}.txt").write_text(f"{last}, changed {turn}\n")
        return self.run(), self.floor(f"t{last}")


def command_line() -> list[str]:
    """The installed command, else the module."""
    script = Path(sys.executable).parent / "coopery"
    return [str(script)] if script.exists() else [sys.executable, "-m", "coopery"]


COOPERY = command_line()


def start_up(folder: Path, repeat: int) -> list[Row]:
    """`--version` and `list` of ten tasks, beside an empty Python program."""
    bench = Bench(folder=folder, parents=independent(10), jobs=1, repeat=repeat)
    bench.write()
    rows = []
    for arguments in (["--version"], ["list"]):
        pairs = [
            (bench.coopery(*arguments), once([sys.executable, "-c", "pass"], folder, bench.env))
            for _ in range(repeat * 4)
        ]
        ours, floor = (median([pair[side] for pair in pairs]) for side in (0, 1))
        rows.append(Row(what=f"{' '.join(arguments)} / python -c pass", ours=ours, floor=floor))
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], metavar="N")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {version}, {given.jobs} processes at a time, medians of {given.repeat}")
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory(prefix="coopery-bench-") as name:
        for row in start_up(Path(name) / "start-up", given.repeat):
            print(row, flush=True)
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
                for row in bench.rows(f"{size:,} {shape}"):
                    print(row, flush=True)
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
