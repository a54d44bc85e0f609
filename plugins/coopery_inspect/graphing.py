"""`graph`: which task, or which instance, reads from which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from coopery import expanding
from coopery.commands import Context
from coopery.errors import Problem, RecipeError, nearest
from coopery.expanding import Node
from coopery.opening import Opened, Request, open_recipe
from coopery.steps import Gathered, StepSource


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes by name with the label each bears; `edges` are (from, to) with the outputs read."""

    nodes: Mapping[str, str]
    edges: Mapping[tuple[str, str], tuple[str, ...]]


def run(context: Context) -> int:
    """Draw the graph of the targets and all that they need."""
    arguments = context.arguments
    formats = {"text": text, "mermaid": mermaid, "dot": dot}
    draw = formats.get(arguments.format or "text")
    if draw is None:
        message = f"--format: there is no format {arguments.format!r}"
        hint = nearest(arguments.format, formats)
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
    if arguments.json and arguments.format:
        message = "--format and --json exclude each other"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="drop one"))
    request = Request(file=arguments.file, targets=tuple(arguments.targets))
    opened = open_recipe(request, context.plugins, context.settings)
    graph = build(opened, request.targets, instances=arguments.instances)
    document = {
        "recipe": str(opened.recipe.file),
        "nodes": list(graph.nodes),
        "edges": [
            {"from": tail, "to": head, "outputs": list(outputs)}
            for (tail, head), outputs in graph.edges.items()
        ],
    }
    context.answer(document, draw(graph))
    return 0


def build(opened: Opened, targets: tuple[str, ...], *, instances: bool) -> Graph:
    """The graph of these targets (default: all) and their ancestors, each node after its needs.

    Raises RecipeError (`unknown-target`).
    """
    chosen = expanding.select(opened.recipe, opened.nodes, targets, Path.cwd())
    needed = expanding.ancestors(opened.nodes, chosen)
    nodes = [node for name, node in opened.nodes.items() if name in needed]
    shown = {node.name: node.name if instances else node.instance.task.name for node in nodes}
    counts: dict[str, int] = {}
    edges: dict[tuple[str, str], dict[str, None]] = {}
    for node in nodes:
        counts[shown[node.name]] = counts.get(shown[node.name], 0) + 1
        for producer, output in reads(node):
            edges.setdefault((shown[producer], shown[node.name]), {})[output] = None
    labels = {
        name: name if instances or counts[name] == 1 else f"{name} ({counts[name]})"
        for name in _ordered(list(counts), edges)
    }
    return Graph(nodes=labels, edges={edge: tuple(found) for edge, found in edges.items()})


def reads(node: Node) -> list[tuple[str, str]]:
    """The outputs an instance reads: pairs of an instance and an output of it."""
    found: list[tuple[str, str]] = []
    for bound in node.inputs.values():
        match bound.source:
            case StepSource(step=step, output=output):
                found.append((step, output))
            case Gathered(parts=parts):
                found += [(source.step, source.output) for _, source in parts]
    return found


def _ordered(names: list[str], edges: Mapping[tuple[str, str], object]) -> list[str]:
    """The names such that each follows those it reads from, else in the recipe's order."""
    position = {name: index for index, name in enumerate(names)}
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(names, ()))
    for tail, head in edges:
        sorter.add(head, tail)
    sorter.prepare()
    result: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        result += ready
        sorter.done(*ready)
    return result


def text(graph: Graph) -> str:
    """One line per node: what it is, and what it reads from."""
    parents: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for tail, head in graph.edges:
        parents[head].append(tail)
    return "\n".join(
        f"{label} <- {', '.join(parents[name])}" if parents[name] else label
        for name, label in graph.nodes.items()
    )


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart; names stand in labels only, with all that could be syntax encoded."""
    ids = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [f'    {ids[name]}["{_entities(label)}"]' for name, label in graph.nodes.items()]
    lines += [f"    {ids[tail]} --> {ids[head]}" for tail, head in graph.edges]
    return "\n".join(lines)


def _entities(label: str) -> str:
    """Mermaid's own escapes: `#37;` for `%`."""
    return re.sub(r"[^A-Za-z0-9_ .,=@()-]", lambda found: f"#{ord(found[0])};", label)


def dot(graph: Graph) -> str:
    """A Graphviz digraph."""
    lines = ["digraph coopery {", "    rankdir=LR;", "    node [shape=box];"]
    lines += [
        f"    {_quoted(name)};"
        if name == label
        else f"    {_quoted(name)} [label={_quoted(label)}];"
        for name, label in graph.nodes.items()
    ]
    lines += [f"    {_quoted(tail)} -> {_quoted(head)};" for tail, head in graph.edges]
    return "\n".join([*lines, "}"])


def _quoted(name: str) -> str:
    """A quoted string of the DOT language, in which labels take backslashes for escapes."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
