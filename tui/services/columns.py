"""Columns of lists of runs: which there are, and which of the chosen ones fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sa_mlops.registry import names
from tui.plain import age, duration, number
from tui.services.filters import SHORT
from tui.services.records import Run

WORDS = {metric: word for word, metric in SHORT.items()} | {
    "objective.gap": "gap",
    "objective.retention": "kept",
}
"""Headings of metrics with a short name."""
PARAM = "param "
"""Before the name of a parameter in the key of its column."""
NAME = "run"
"""The column that takes the room left over."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key, heading, width in cells, and how early it must go where room is short (the highest first)."""

    key: str
    heading: str
    width: int
    rank: int


FIXED = {
    c.key: c
    for c in (
        Column("state", "state", 10, 0),
        Column(NAME, "run", 22, 0),
        Column("progress", "progress", 19, 1),
        Column("entry", "entry", 11, 7),
        Column("from", "from", 5, 5),
        Column("classes", "classes", 10, 6),
        Column("begun", "begun", 7, 3),
        Column("took", "took", 7, 4),
    )
}
RUNS = (
    "state",
    NAME,
    "progress",
    "entry",
    "from",
    "classes",
    "forget.prob",
    "retain.accuracy",
    "retain.fid",
    "begun",
    "took",
)
"""Columns of Runs that nobody has changed."""
METRIC_RANK = 2


def column(key: str) -> Column:
    """The column of a key: a fixed one, a metric, or `param NAME`."""
    if key in FIXED:
        return FIXED[key]
    heading = WORDS.get(key) or key.removeprefix(PARAM)
    return Column(key, heading, max(7, min(len(heading), 16)), METRIC_RANK)


def known(runs: Iterable[Run]) -> list[str]:
    """Keys of every column that some runs could fill."""
    found = list(runs)
    metrics = sorted({k for run in found for k in names.results(run.metrics)})
    params = sorted({k for run in found for k in run.params})
    return [*FIXED, *metrics, *(PARAM + k for k in params)]


def value(run: Run, key: str) -> str:
    """A run's value in a column; empty without one."""
    match key:
        case "entry":
            return run.entry
        case "from":
            return f"v{run.start_version}" if run.start_version else ""
        case "classes":
            return run.classes
        case "begun":
            return age(run.started)
        case "took":
            return duration(run.seconds())
    if key.startswith(PARAM):
        return run.given.get(key.removeprefix(PARAM), "")
    found = names.current_metrics(run.metrics).get(key)
    return "" if found is None else number(found)


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit beside each other, whole, with a space after each; the name takes the room that is left."""
    kept: set[str] = set()
    room = width
    for one in sorted(columns, key=lambda c: c.rank):
        if one.width + 1 <= room:
            kept.add(one.key)
            room -= one.width + 1
    shown = [c for c in columns if c.key in kept]
    room = min(room, 40)
    return [Column(c.key, c.heading, c.width + room, c.rank) if c.key == NAME else c for c in shown]
