"""Cycles among tasks, each named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from coopery.errors import Problem, problem

if TYPE_CHECKING:
    from coopery.expanding import Nodes


def cycles(nodes: Nodes, most: int = 20) -> list[Problem]:
    """A problem for each cycle (`a -> b -> a`), each named once, at most `most`."""
    import graphlib

    graph = {name: [p for p in node.parents if p in nodes] for name, node in nodes.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        pass
    else:
        return []
    problems = []
    seen: set[tuple[str, ...]] = set()
    for cycle in _elementary_cycles(graph):
        tasks = [nodes[name].instance.task.name for name in cycle]
        # A cycle through several instances of a task is one mistake, said once.
        short = tuple(dict.fromkeys(tasks))
        start = short.index(min(short))
        shown = (*short[start:], *short[:start], short[start])
        if shown not in seen:
            seen.add(shown)
            message = f"cycle: {' -> '.join(shown)}"
            hint = "take one of these inputs away, or read it from a task outside the cycle"
            problems.append(problem("cycle", message, key=("task", shown[0]), hint=hint))
        if len(problems) >= most:
            break
    return problems


def _elementary_cycles(graph: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Cycles in the direction of the data flow, each from its smallest name; bounded search."""
    forward: dict[str, list[str]] = {name: [] for name in graph}
    for name, parents in graph.items():
        for parent in parents:
            forward[parent].append(name)
    budget = 100_000
    for root in sorted(graph):
        stack: list[tuple[str, Iterator[str]]] = [(root, iter(sorted(forward[root])))]
        path = [root]
        on_path = {root}
        while stack:
            budget -= 1
            if budget < 0:
                return
            following = next(stack[-1][1], None)
            if following is None:
                stack.pop()
                on_path.discard(path.pop())
            elif following == root:
                yield list(path)
            elif following > root and following not in on_path:
                stack.append((following, iter(sorted(forward[following]))))
                path.append(following)
                on_path.add(following)
