"""The family tree of generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from sa_mlops.plots.style import LIGHT, SMALL, new_figure


@dataclass(frozen=True, slots=True)
class Node:
    """A version: `label`, below it `caption` (a line or two); a marked one gets a strong frame."""

    key: str
    label: str
    caption: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` was made from `parent`; both are keys of nodes."""

    parent: str
    child: str


@dataclass(frozen=True, slots=True)
class Place:
    """Column from the left (generation) and row from the top of a node."""

    column: int
    row: float


def layout(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, Place]:
    """Places by key: a column per generation, a row per leaf, a parent in the row of its first child.

    Raises ValueError if an edge names an unknown node, a node has two parents, or the edges form a ring.
    """
    keys = [node.key for node in nodes]
    parents: dict[str, str] = {}
    children: dict[str, list[str]] = {key: [] for key in keys}
    for edge in edges:
        if edge.parent not in children or edge.child not in children:
            raise ValueError(f"edge {edge.parent} -> {edge.child} names an unknown node")
        if edge.child in parents:
            raise ValueError(f"{edge.child} has two parents")
        parents[edge.child] = edge.parent
        children[edge.parent].append(edge.child)

    places: dict[str, Place] = {}
    leaves = 0
    # Depth first without recursion: a chain of versions may be longer than the stack is deep.
    pending = [(key, 0) for key in reversed(keys) if key not in parents]
    while pending:
        key, column = pending.pop()
        places[key] = Place(column, leaves)
        pending.extend((child, column + 1) for child in reversed(children[key]))
        leaves += not children[key]
    if len(places) != len(keys):
        raise ValueError("the nodes form a ring")
    return places


def lineage_tree(nodes: Sequence[Node], edges: Sequence[Edge], *, title: str) -> Figure:
    """Versions from left to right, each joined to its parent. Errors as in `layout`."""
    places = layout(nodes, edges)
    columns = 1 + max((p.column for p in places.values()), default=0)
    rows = 1 + max((p.row for p in places.values()), default=0)
    figure = new_figure(max(3.5, 1.75 * columns), 0.55 + 0.72 * rows, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(-0.05, columns - 0.05), ylim=(rows - 0.5, -0.5))
    for edge in edges:
        a, b = places[edge.parent], places[edge.child]
        bend = b.column - 0.09
        axes.plot(
            [a.column + 0.4, bend, bend, b.column], [a.row, a.row, b.row, b.row], color=LIGHT.faint, zorder=1
        )
    for node in nodes:
        place = places[node.key]
        colour = LIGHT.accent if node.marked else LIGHT.ink
        text = f"{node.label}\n{node.caption}" if node.caption else node.label
        axes.text(
            place.column, place.row, text, va="center", fontsize=SMALL, color=LIGHT.ink, linespacing=1.3,
            parse_math=False, bbox={"boxstyle": "round,pad=0.4", "fc": LIGHT.paper, "ec": colour,
                                    "lw": 1.8 if node.marked else 0.9},
        )  # fmt: skip
    return figure
