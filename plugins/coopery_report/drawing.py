"""A graph as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from coopery.errors import visible
from coopery_report.graphs import Graph, Node
from coopery_report.layout import HEIGHT, Layout, Point, arrange
from coopery_report.looks import LOOKS, css, told

LONGEST = 36
"""Characters of a label; the tooltip has all."""
CHARACTER = 7.83
"""The width of a character of the font at 13 px."""
MARGIN = 16.0
LEGEND = 34.0

STYLE = """\
.graph text{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;fill:#1b1b1b}
.graph .paper{fill:#ffffff}
.graph .node rect{stroke-width:1.4}
.graph .plain{fill:#f5f5f5;stroke:#5f5f5f}
.graph .s-skipped,.graph .s-pending,.graph .s-depends{stroke-dasharray:4 3}
.graph .edge{fill:none;stroke:#767676;stroke-width:1.2}
.graph .tip{fill:#767676}
.mark{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
@media (prefers-color-scheme:dark){
.graph text{fill:#ededed}
.graph .paper{fill:#181818}
.graph .plain{fill:#2a2a2a;stroke:#a8a8a8}
.graph .edge{stroke:#9a9a9a}
.graph .tip{fill:#9a9a9a}
}
""" + css()
"""For a page that holds drawings; one that stands alone brings it along."""


def svg(graph: Graph, title: str, *, alone: bool = True) -> str:
    """The drawing; `alone` it is a file of its own, with its style and a ground to stand on."""
    labels = {node.name: clipped(node.label, LONGEST) for node in graph.nodes}
    room = {
        node.name: len(labels[node.name]) * CHARACTER + (40 if node.states else 24)
        for node in graph.nodes
    }
    layout = arrange([node.name for node in graph.nodes], graph.edges.keys(), room)
    words = [word for word in LOOKS if any(w == word for n in graph.nodes for w, _ in n.states)]
    lowest = layout.height + 2 * MARGIN
    width = max(layout.width + 2 * MARGIN, _legend_width(words))
    height = lowest + (LEGEND if words else 0)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="group"'
        f' width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
        f' aria-label="{escape(visible(title))}">'
    ]
    if alone:
        parts.append(f"<title>{escape(visible(title))}</title>")
        parts.append(f'<style>{STYLE}</style><rect class="paper" width="100%" height="100%"/>')
    parts.append(
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path class="tip" d="M0 .6 8 4 0 7.4Z"/></marker></defs>'
        f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">'
    )
    parts += [
        f'<path class="edge" marker-end="url(#tip)" d="{_curve(route)}"/>'
        for route in layout.routes.values()
    ]
    parts += [_box(node, labels[node.name], layout) for node in graph.nodes]
    parts.append("</g>")
    if words:
        parts.append(_legend(words, lowest))
    return "\n".join([*parts, "</svg>"])


def clipped(text: str, most: int) -> str:
    """The text, of a long one beginning and end; control characters are written out."""
    text = visible(text)
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def mark(word: str, x: float, y: float) -> str:
    """The mark of a state, with its upper left corner there."""
    place = f"translate({_n(x)} {_n(y)})"
    return f'<path class="mark m-{word}" transform="{place}" d="{LOOKS[word].mark}"/>'


def _box(node: Node, label: str, layout: Layout) -> str:
    left, middle, width = layout.boxes[node.name]
    top = middle - HEIGHT / 2
    word = node.states[0][0] if node.states else ""
    story = f"{node.label}: {told(node.states) if node.count > 1 else word}" if word else node.label
    inner = f"<title>{escape(visible(story))}</title>"
    inner += (
        f'<rect class="{f"s-{word}" if word else "plain"}" x="{_n(left)}" y="{_n(top)}"'
        f' width="{_n(width)}" height="{_n(HEIGHT)}" rx="5"/>'
    )
    if node.count > 1:  # as a pile
        inner += (
            f'<path class="edge" d="M{_n(left + 6)} {_n(top + HEIGHT + 3)}'
            f'H{_n(left + width + 3)}V{_n(top + 6)}"/>'
        )
    if word:
        inner += mark(word, left + 10, middle - 6)
    start = left + (28 if word else 12)
    inner += f'<text x="{_n(start)}" y="{_n(middle + 4.5)}">{escape(label)}</text>'
    if node.link:
        inner = f'<a href="{escape(node.link)}">{inner}</a>'
    return f'<g class="node">{inner}</g>'


def _curve(route: tuple[Point, ...]) -> str:
    """Curved from the first point to the second, straight to the third, and so on."""
    x, y = route[0]
    parts = [f"M{_n(x)} {_n(y)}"]
    for index, (right, low) in enumerate(route[1:]):
        if index % 2:
            parts.append(f"H{_n(right)}")
        else:
            half = max((right - x) / 2, 12)
            parts.append(
                f"C{_n(x + half)} {_n(y)} {_n(right - half)} {_n(low)} {_n(right)} {_n(low)}"
            )
        x, y = right, low
    return "".join(parts)


def _legend_width(words: Iterable[str]) -> float:
    return MARGIN + sum(len(word) * CHARACTER + 44 for word in words)


def _legend(words: Iterable[str], top: float) -> str:
    parts, x = [], MARGIN
    for word in words:
        parts.append(
            f'<rect class="s-{word}" x="{_n(x)}" y="{_n(top)}" width="20" height="18" rx="4"/>'
        )
        parts.append(mark(word, x + 4, top + 3))
        parts.append(f'<text x="{_n(x + 27)}" y="{_n(top + 13.5)}">{word}</text>')
        x += len(word) * CHARACTER + 44
    return f'<g class="legend" aria-hidden="true">{"".join(parts)}</g>'


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
