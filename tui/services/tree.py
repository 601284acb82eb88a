"""The lineage as rows of a list: versions under their parents, with the runs that make new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.services.filters import SHORT, Filter, of_version
from tui.services.orders import ranked, wish
from tui.services.records import Run, Snapshot

GENERATOR_STAGES = ("base", "forget", "retrain")
ORDERS = {"lineage": "", "newest": ""} | {word: SHORT[word] for word in ("p", "r", "fid", "nelbo")}
"""Orders of the list: the tree, by number, or by a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the list: a version, a run that makes one, or a heading.

    Attributes
    ----------
    key : names the row over time.
    guide : the lines of the tree before it.
    depth : 0 for roots.
    branches, closed : whether it has rows below it, and whether they are folded.
    dim : shown only because a row below it matches the filter.
    """

    key: str
    guide: str = ""
    depth: int = 0
    version: Version | None = None
    run: Run | None = None
    heading: str = ""
    branches: bool = False
    closed: bool = False
    dim: bool = False


JUDGES_HEADING = "heading:judges"


def rows(
    snapshot: Snapshot, order: str = "lineage", pattern: Filter | None = None, folded: Collection[str] = ()
) -> list[Row]:
    """All rows in an order of `ORDERS` under a filter, without folded ones."""
    pattern = pattern or Filter()
    chosen = {
        v.uri
        for v in snapshot.versions.values()
        if not pattern or pattern.matches(of_version(v, snapshot.aliases_of(v), snapshot.metrics_of(v)))
    }
    return _tree(snapshot, pattern, folded, chosen) if order == "lineage" else _flat(snapshot, order, chosen)


def _flat(snapshot: Snapshot, order: str, chosen: Collection[str]) -> list[Row]:
    versions = [v for v in snapshot.versions.values() if v.uri in chosen and v.name == names.GENERATORS]
    versions.sort(key=lambda v: v.number, reverse=order == "newest")
    if metric := ORDERS[order]:
        versions = ranked(versions, lambda v: snapshot.metrics_of(v).get(metric), rising=wish(metric) > 0)
    return [Row(key=v.uri, version=v) for v in versions]


class _Node:
    __slots__ = ("children", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.children: list[_Node] = []


def _tree(snapshot: Snapshot, pattern: Filter, folded: Collection[str], chosen: Collection[str]) -> list[Row]:
    generators = sorted(
        (v for v in snapshot.versions.values() if v.name == names.GENERATORS), key=lambda v: v.number
    )
    nodes = {v.number: _Node(Row(key=v.uri, version=v)) for v in generators}
    bases: dict[tuple[str, str], int] = {}
    for v in generators:
        if v.stage == "base":
            bases.setdefault(_origin(v), v.number)
    above: dict[int, int] = {}
    for v in generators:
        parent = v.parent
        if parent is None and v.stage == "retrain":
            parent = bases.get(_origin(v))
        if parent in nodes and parent != v.number:
            above[v.number] = parent
    roots: list[_Node] = []
    safe = _grounded(above)
    for number, node in nodes.items():
        if number in safe and number in above:
            nodes[above[number]].children.append(node)
        else:
            # Also members of a ring of parents, which only edited tags can form.
            roots.append(node)
    for v in snapshot.versions.values():
        if v.name == names.FISHERS:
            node = _Node(Row(key=v.uri, version=v))
            (nodes[v.parent].children if v.parent in nodes else roots).append(node)
    for run in _making(snapshot):
        node = _Node(Row(key=f"run:{run.run_id}", run=run))
        start = run.start_version
        (nodes[start].children if start in nodes else roots).append(node)
    judges = _Node(Row(key=JUDGES_HEADING, heading="Judges"))
    judges.children = [
        _Node(Row(key=v.uri, version=v))
        for v in sorted(snapshot.versions.values(), key=lambda v: v.number)
        if v.name == names.JUDGES
    ]
    if judges.children:
        roots.append(judges)
    return _lines(roots, pattern, folded, chosen)


def _origin(version: Version) -> tuple[str, str]:
    return version.tags.get(names.DATASET, ""), version.tags.get(names.SEED, "")


def _grounded(above: dict[int, int]) -> set[int]:
    """Numbers whose chain of parents ends."""
    good: set[int] = set()
    bad: set[int] = set()
    for number in above:
        path: list[int] = []
        here: int | None = number
        while here is not None and here not in good and here not in bad and here not in path:
            path.append(here)
            here = above.get(here)
        if here in path:
            bad.update(path[path.index(here) :])
            path = path[: path.index(here)]
        good.update(path)
    return good


def _making(snapshot: Snapshot) -> list[Run]:
    """Active runs that make a generator, oldest first."""
    active = [r for r in snapshot.runs.values() if r.active and r.stage in GENERATOR_STAGES]
    registered = {v.run_id for v in snapshot.versions.values()} if active else set()
    return sorted((r for r in active if r.run_id not in registered), key=lambda r: r.started)


def _lines(
    roots: list[_Node], pattern: Filter, folded: Collection[str], chosen: Collection[str]
) -> list[Row]:
    kept = _matching(roots, chosen) if pattern else None
    out: list[Row] = []
    stack: list[tuple[_Node, int, str, str]] = [(node, 0, "", "") for node in reversed(roots)]
    while stack:
        node, depth, guide, below = stack.pop()
        row = node.row
        if kept is not None and row.key not in kept:
            continue
        children = [c for c in node.children if kept is None or c.row.key in kept]
        closed = row.key in folded and kept is None
        out.append(
            Row(
                key=row.key, guide=guide, depth=depth, version=row.version, run=row.run, heading=row.heading,
                branches=bool(children), closed=closed, dim=kept is not None and row.key not in chosen,
            )
        )  # fmt: skip
        if closed:
            continue
        for i, child in reversed(list(enumerate(children))):
            last = i == len(children) - 1
            # Long chains must not push the titles off the screen.
            start = below if depth < 12 else below[:24]
            stack.append(
                (child, depth + 1, start + ("└ " if last else "├ "), start + ("  " if last else "│ "))
            )
    return out


def _matching(roots: list[_Node], chosen: Collection[str]) -> set[str]:
    """Keys of matching rows and of the rows above them."""
    parents: dict[str, list[str]] = defaultdict(list)
    order: list[_Node] = list(roots)
    for node in order:
        for child in node.children:
            parents[child.row.key].append(node.row.key)
            order.append(child)
    kept: set[str] = set()
    todo = [n.row.key for n in order if n.row.key in chosen]
    while todo:
        key = todo.pop()
        if key not in kept:
            kept.add(key)
            todo += parents[key]
    return kept
