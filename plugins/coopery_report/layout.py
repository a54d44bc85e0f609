"""Where the boxes and lines of a graph go: ranks in columns, few crossings, short lines.

The layered method of Sugiyama, Tagawa and Toda (1981): longest-path ranks, barycentre sweeps, then
positions that keep the order and come nearest to the neighbours'. Time grows with nodes and edges,
sweeps are few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt

HEIGHT = 30.0
"""Of a box."""
GAP = 14.0
"""Between boxes of a column."""
SLIM = 8.0
"""The room that a passing line takes in a column."""
ORDER_SWEEPS, PLACE_SWEEPS = 8, 6
MOST_BENDS = 20_000
"""Places where long lines pass through columns; lines beyond go straight."""
MOST_COUNTED = 4_000
"""Up to so many line segments, crossings are counted to keep the best order seen."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """`boxes` are left, middle and width by name; `routes` are points by edge.

    A route goes curved from its first point to the second, straight to the third, and so on.
    """

    width: float
    height: float
    boxes: Mapping[str, tuple[float, float, float]]
    routes: Mapping[tuple[str, str], tuple[Point, ...]]


@dataclass
class _Columns:
    """Nodes (by number) in columns; those from `real` on are bends of long lines."""

    real: int
    columns: list[list[int]]
    before: list[list[int]]
    after: list[list[int]]
    chains: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """By edge, the bends it passes."""


def arrange(
    names: Sequence[str], edges: Collection[tuple[str, str]], widths: Mapping[str, float]
) -> Layout:
    """Place these nodes, of which each comes after those it has edges from."""
    number = {name: index for index, name in enumerate(names)}
    # An edge against the order would lead backwards: it is drawn, and moves nothing.
    links = [(number[a], number[b]) for a, b in edges if number[a] < number[b]]
    joined = {end for link in links for end in link}
    ranks = _ranks(len(names), links)
    columns = _columns([i for i in range(len(names)) if i in joined], len(names), links, ranks)
    _order(columns)
    middles = _place(columns)
    span = [
        max((widths[names[i]] for i in c if i < len(names)), default=0) for c in columns.columns
    ]
    lefts, right = [], 0.0
    for index, width in enumerate(span):
        lefts.append(right)
        crowd = sum(len(columns.after[i]) for i in columns.columns[index])
        right += width + 44 + min(76, 2 * crowd)
    boxes: dict[str, tuple[float, float, float]] = {}
    at: dict[int, tuple[float, float, float]] = {}
    for left, width, column in zip(lefts, span, columns.columns, strict=True):
        for index in column:
            at[index] = (left, middles[index], width)
            if index < len(names):
                boxes[names[index]] = at[index]
    depth = max((middles[i] for i in at), default=-GAP - HEIGHT / 2) + HEIGHT / 2
    alone = [name for name in names if name not in boxes]
    boxes |= _grid(alone, widths, depth + GAP if at else 0.0, right)
    routes = {}
    for tail, head in edges:
        passed = columns.chains.get((number[tail], number[head]), ())
        routes[tail, head] = _route(boxes[tail], [at[bend] for bend in passed], boxes[head])
    return Layout(
        width=max((left + width for left, _, width in boxes.values()), default=0),
        height=max((middle + HEIGHT / 2 for _, middle, _ in boxes.values()), default=0),
        boxes={name: boxes[name] for name in names},
        routes=routes,
    )


def _ranks(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """The longest way from a start; starts stand just before the first that reads them."""
    ranks = [0] * count
    nearest = [count] * count
    entered = [False] * count
    for tail, head in sorted(links):
        ranks[head] = max(ranks[head], ranks[tail] + 1)
        entered[head] = True
    for tail, head in links:
        nearest[tail] = min(nearest[tail], ranks[head] - 1)
    return [
        rank if entered[i] or nearest[i] == count else nearest[i] for i, rank in enumerate(ranks)
    ]


def _columns(
    nodes: Sequence[int], real: int, links: Iterable[tuple[int, int]], ranks: Sequence[int]
) -> _Columns:
    """Columns by rank; all long lines from one node share their way, as a bundle."""
    found = _Columns(
        real=real,
        columns=[[] for _ in range(max((ranks[i] for i in nodes), default=-1) + 1)],
        before=[[] for _ in range(real)],
        after=[[] for _ in range(real)],
    )
    for index in nodes:
        found.columns[ranks[index]].append(index)
    bundles: dict[int, list[int]] = {}
    bends = 0
    for tail, head in sorted(links, key=lambda link: ranks[link[1]] - ranks[link[0]]):
        bundle = bundles.setdefault(tail, [])
        wanted = ranks[head] - ranks[tail] - 1
        missing = wanted - len(bundle)
        if bends + max(0, missing) > MOST_BENDS:
            continue
        for _ in range(missing):
            bend = len(found.before)
            last = bundle[-1] if bundle else tail
            found.before.append([last])
            found.after.append([])
            found.after[last].append(bend)
            found.columns[ranks[tail] + len(bundle) + 1].append(bend)
            bundle.append(bend)
            bends += 1
        last = bundle[wanted - 1] if wanted else tail
        found.after[last].append(head)
        found.before[head].append(last)
        found.chains[tail, head] = bundle[:wanted]
    return found


def _order(found: _Columns) -> None:
    """Order each column by where its neighbours stand, forth and back; keep the best.

    Once with long lines below the boxes to begin with, and once with them above.
    """
    below = found.columns
    above = [sorted(column, key=lambda i: i < found.real) for column in below]
    best, fewest = below, None
    for start in (below, above):
        order, crossings = _swept(found, start)
        if fewest is None or (crossings is not None and crossings < fewest):
            best, fewest = order, crossings
        if not fewest:  # none cross, or there are too many lines to count and to try again
            break
    found.columns = best


def _swept(found: _Columns, start: Iterable[Sequence[int]]) -> tuple[list[list[int]], int | None]:
    """The best order on the way from this one, and how many lines cross in it."""
    columns = [list(column) for column in start]
    position = [0.0] * len(found.before)

    def renumber(column: Sequence[int]) -> None:
        for place, index in enumerate(column):
            position[index] = float(place)

    for column in columns:
        renumber(column)
    counted = sum(map(len, found.after)) <= MOST_COUNTED
    best = [list(column) for column in columns]
    fewest = _crossings(found, columns, position) if counted else None
    for sweep in range(ORDER_SWEEPS):
        if fewest == 0:
            break
        forth = sweep % 2 == 0
        neighbours = found.before if forth else found.after
        for column in columns[1:] if forth else columns[-2::-1]:
            wish = {
                i: sum(position[n] for n in neighbours[i]) / len(neighbours[i])
                if neighbours[i]
                else position[i]
                for i in column
            }
            column.sort(key=wish.__getitem__)
            renumber(column)
        crossings = _crossings(found, columns, position) if counted else None
        if crossings is None or fewest is None or crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    return best, fewest


def _crossings(found: _Columns, columns: Iterable[Iterable[int]], position: Sequence[float]) -> int:
    from bisect import bisect_right, insort

    total = 0
    for column in columns:
        seen: list[float] = []
        for index in column:
            heads = sorted(position[head] for head in found.after[index])
            total += sum(len(seen) - bisect_right(seen, head) for head in heads)
            for head in heads:
                insort(seen, head)
    return total


def _place(found: _Columns) -> list[float]:
    """The middle of each node: its column's order kept, as near to its neighbours as can be."""
    middles = [0.0] * len(found.before)
    rooms = {column[0]: _rooms(column, found.real) for column in found.columns if column}
    for column in found.columns:
        if not column:
            continue
        room = rooms[column[0]]
        for index, offset in zip(column, room, strict=True):
            middles[index] = offset - room[-1] / 2
    for sweep in range(PLACE_SWEEPS):
        forth = sweep % 2 == 1
        for column in found.columns if forth else found.columns[::-1]:
            if not column:
                continue
            wishes = []
            for index in column:
                near = found.before[index] if forth else found.after[index]
                near = near or found.before[index] + found.after[index]
                wishes.append(sum(middles[n] for n in near) / len(near) if near else middles[index])
            room = rooms[column[0]]
            eased = _eased([w - offset for w, offset in zip(wishes, room, strict=True)])
            for index, ease, offset in zip(column, eased, room, strict=True):
                middles[index] = ease + offset
    top = min((middles[i] for column in found.columns for i in column), default=0) - HEIGHT / 2
    return [middle - top for middle in middles]


def _rooms(column: Sequence[int], real: int) -> list[float]:
    """How far below the first each stands at least."""
    offsets, above = [0.0], column[0]
    for index in column[1:]:
        room = sum(HEIGHT if i < real else SLIM for i in (above, index)) / 2 + GAP
        offsets.append(offsets[-1] + room)
        above = index
    return offsets


def _eased(wishes: Sequence[float]) -> list[float]:
    """The rising numbers nearest to these in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for wish in wishes:
        total, count = wish, 1
        while pools and pools[-1][0] * count >= total * pools[-1][1]:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]


def _grid(
    names: Sequence[str], widths: Mapping[str, float], top: float, span: float
) -> dict[str, tuple[float, float, float]]:
    """Nodes without edges, in rows below the rest."""
    if not names:
        return {}
    width = max(widths[name] for name in names)
    fit = int(max(span, 900) // (width + GAP)) or 1
    across = max(1, min(fit, len(names), ceil(sqrt(len(names))) + 1))
    return {
        name: (
            (width + GAP) * (index % across),
            top + HEIGHT / 2 + (HEIGHT + GAP) * (index // across),
            width,
        )
        for index, name in enumerate(names)
    }


def _route(
    tail: tuple[float, float, float],
    bends: Iterable[tuple[float, float, float]],
    head: tuple[float, float, float],
) -> tuple[Point, ...]:
    points: list[Point] = [(tail[0] + tail[2], tail[1])]
    for left, middle, width in bends:
        points += [(left, middle), (left + width, middle)]
    return (*points, (head[0], head[1]))
