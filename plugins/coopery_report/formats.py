"""Graphs as text: plain, for Mermaid, for Graphviz."""

from __future__ import annotations

import re

from coopery_report.graphs import Graph, Node
from coopery_report.looks import LOOKS, told


def text(graph: Graph) -> str:
    """One line per node: what it is, what it reads from, and its states."""
    parents: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for tail, head in graph.edges:
        parents[head].append(tail)
    return "\n".join(
        node.label
        + (f" <- {', '.join(parents[node.name])}" if parents[node.name] else "")
        + (f"  [{_states(node)}]" if node.states else "")
        for node in graph.nodes
    )


def _states(node: Node) -> str:
    """`failed`; of several instances `1 failed, 2 succeeded`."""
    return node.states[0][0] if node.count == 1 else told(node.states)


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart; names stand in labels only, with all that could be syntax encoded."""
    ids = {node.name: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        label = _entities(node.label)
        if node.states:
            label += f"<br/>{_entities(_states(node))}"
        lines.append(f'    {ids[node.name]}["{label}"]')
    lines += [f"    {ids[tail]} --> {ids[head]}" for tail, head in graph.edges]
    for word, look in LOOKS.items():
        worn = [ids[node.name] for node in graph.nodes if node.states and node.states[0][0] == word]
        if worn:
            fill, stroke = look.light
            # A class may not bear a word of the grammar's own, so none is a state's word alone.
            lines.append(f"    classDef is-{word} fill:{fill},stroke:{stroke},color:#1b1b1b")
            lines.append(f"    class {','.join(worn)} is-{word}")
    return "\n".join(lines)


def _entities(label: str) -> str:
    """Mermaid's own escapes: `#37;` for `%`."""
    return re.sub(r"[^A-Za-z0-9_ .,=@()-]", lambda found: f"#{ord(found[0])};", label)


def dot(graph: Graph) -> str:
    """A Graphviz digraph."""
    lines = [
        "digraph coopery {",
        "    rankdir=LR;",
        '    node [shape=box, style="rounded,filled"];',
    ]
    for node in graph.nodes:
        label, fill, stroke = node.label, "white", "black"
        if node.states:
            label += f"\n{_states(node)}"
            fill, stroke = LOOKS[node.states[0][0]].light
        looks = (
            f'label={_quoted(label.replace("&", "&amp;"))}, fillcolor="{fill}", color="{stroke}"'
        )
        lines.append(f"    {_quoted(node.name)} [{looks}];")
    lines += [f"    {_quoted(tail)} -> {_quoted(head)};" for tail, head in graph.edges]
    return "\n".join([*lines, "}"])


def _quoted(name: str) -> str:
    """A quoted string of the DOT language, in which labels take backslashes for escapes."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
