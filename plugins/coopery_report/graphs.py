"""Graphs as values: of a recipe's tasks, of its instances, or of the steps of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery_report.looks import counted, state_of

if TYPE_CHECKING:
    from coopery.expanding import Node as Instance
    from coopery.opening import Opened

Edge = tuple[str, str]
"""From what is read to who reads it."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A task, an instance or a step; or `count` instances as one.

    `states` are words with how many of them are in that state, the most notable first. A `link`
    is where a click leads.
    """

    name: str
    count: int = 1
    states: tuple[tuple[str, int], ...] = ()
    link: str = ""

    @property
    def label(self) -> str:
        """The name, with the number of instances it stands for."""
        return self.name if self.count == 1 else f"{self.name} ({self.count})"


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes, each after those it reads from; edges with the outputs that are read."""

    nodes: tuple[Node, ...]
    edges: Mapping[Edge, tuple[str, ...]]


def of_recipe(
    opened: Opened,
    targets: tuple[str, ...],
    *,
    instances: bool,
    states: Mapping[str, str] | None = None,
) -> Graph:
    """The graph of these targets (default: all) and their ancestors.

    `states` are words by instance. Raises RecipeError (`unknown-target`).
    """
    from coopery import selecting

    chosen = selecting.select(opened.recipe, opened.nodes, targets, Path.cwd())
    needed = selecting.ancestors(opened.nodes, chosen)
    nodes = [node for name, node in opened.nodes.items() if name in needed]
    shown = {node.name: node.name if instances else node.instance.task.name for node in nodes}
    reads = [(*read, node.name) for node in nodes for read in _reads(node)]
    return _collapsed(shown, reads, states or {})


def _reads(node: Instance) -> Iterable[tuple[str, str]]:
    """The outputs an instance reads: pairs of an instance and an output of it."""
    from coopery.steps import Gathered, StepSource

    for bound in node.inputs.values():
        match bound.source:
            case StepSource(step=step, output=output):
                yield step, output
            case Gathered(parts=parts):
                for _, source in parts:
                    yield source.step, source.output


def of_record(record: Mapping[str, Any], most: int, links: Mapping[str, str]) -> Graph:
    """The graph of a run's steps; of its tasks when there are more than `most` steps.

    `links` are where a click on a step leads.
    """
    steps: Sequence[Mapping[str, Any]] = record["steps"]
    apart = len(steps) <= most
    shown = {s["step"]: s["step"] if apart else _task_of(s) for s in steps}
    reads = [(need, "", step["step"]) for step in steps for need in step["needs"] if need in shown]
    return _collapsed(shown, reads, {s["step"]: state_of(s) for s in steps}, links)


def _task_of(step: Mapping[str, Any]) -> str:
    name: str = step["step"]
    return name.partition("@")[0] if step["kind"] == "task" else name


def _collapsed(
    shown: Mapping[str, str],
    reads: Iterable[tuple[str, str, str]],
    states: Mapping[str, str],
    links: Mapping[str, str] | None = None,
) -> Graph:
    """Instances under the names they are shown by; `reads` are producer, output and reader."""
    members: dict[str, list[str]] = {}
    for name, under in shown.items():
        members.setdefault(under, []).append(name)
    edges: dict[Edge, dict[str, None]] = {}
    for producer, output, reader in reads:
        edges.setdefault((shown[producer], shown[reader]), {})[output] = None
    nodes = []
    for name in ordered(list(members), edges):
        words = [states[member] for member in members[name] if member in states]
        link = next((links[m] for m in members[name] if m in links), "") if links else ""
        count = len(members[name])
        nodes.append(Node(name=name, count=count, states=counted(words), link=link))
    return Graph(nodes=tuple(nodes), edges={edge: tuple(found) for edge, found in edges.items()})


def ordered(names: Sequence[str], edges: Iterable[Edge]) -> list[str]:
    """The names such that each follows those it reads from, else in the order given.

    Instances that read each other crosswise can make tasks that do; one then comes first.
    """
    position = {name: index for index, name in enumerate(names)}
    readers: dict[str, list[str]] = {name: [] for name in names}
    open_ends = dict.fromkeys(names, 0)
    for tail, head in edges:
        if tail != head:
            readers[tail].append(head)
            open_ends[head] += 1
    ready = [position[name] for name in names if not open_ends[name]]
    heapify(ready)
    found: dict[str, None] = {}
    left = iter(names)
    while len(found) < len(names):
        if ready:
            name = names[heappop(ready)]
        else:
            name = next(name for name in left if name not in found)
        if name in found:
            continue
        found[name] = None
        for reader in readers[name]:
            open_ends[reader] -= 1
            if not open_ends[reader]:
                heappush(ready, position[reader])
    return list(found)
