"""The table of a comparison: a row each method, class and seed, and a summary of each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from sa_mlops.plots.comparison import Point, Span, methods_compared
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

BASE = "base"
"""The method's name in rows of the base."""
MEASURES = {
    "forget.prob": ("p", "{:.4f}"),
    "forget.prob_autolevels": ("p, levels", "{:.4f}"),
    "screen.prob": ("p, screen", "{:.4f}"),
    "retain.accuracy": ("retained", "{:.4f}"),
    "retain.fid": ("FID", "{:.2f}"),
    "retain.recall": ("recall", "{:.4f}"),
    "seconds": ("seconds", "{:.1f}"),
}
"""Measure -> its heading and spelling. All but the seconds are metrics of `forget`."""
SECONDS = ("time.forget", "time.distil", "time.harden", "time.fim", "time.base")
"""Metrics that make up the seconds of a row: the method, its phases and its Fisher diagonal, or the base."""


@dataclass(frozen=True, slots=True)
class Row:
    """One version on the table.

    Attributes
    ----------
    method : as `--methods` names it, or `base`.
    name : of the class.
    command : reproduces the row.
    metrics : of the version; empty if its training diverged.
    """

    method: str
    name: str
    seed: int
    command: str
    target: str = ""
    needs_data: bool = True
    version: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def measured(self, version: str, metrics: Mapping[str, float]) -> Self:
        """The same row with its version."""
        return replace(self, version=version, metrics=metrics)

    def measure(self, key: str) -> float:
        """One of `MEASURES`; NaN if it is unknown."""
        if key == "seconds":
            spent = [self.metrics[k] for k in SECONDS if k in self.metrics]
            return sum(spent) if spent else math.nan
        return self.metrics.get(key, math.nan)

    @property
    def line(self) -> str:
        """The row among progress lines."""
        numbers = "  ".join(
            f"{words} {spell(key, self.measure(key))}" for key, (words, _) in MEASURES.items()
        )
        return f"{self.method}, class {self.name}, seed {self.seed}: {numbers}"

    def values(self) -> dict[str, Any]:
        """The row's columns."""
        return {
            "method": self.method,
            "class": self.name,
            "seed": self.seed,
            **{key: self.measure(key) for key in MEASURES},
            "needs_data": self.needs_data,
            "target": self.target,
            "version": self.version,
            "command": self.command,
        }


def spell(key: str, value: float) -> str:
    """A measure as text; a dash if it is unknown."""
    return "-" if math.isnan(value) else MEASURES[key][1].format(value)


def span(rows: Sequence[Row], key: str) -> Span:
    """Mean over the seeds of the mean over the classes, and the least and largest of these means."""
    means = []
    for seed in sorted({row.seed for row in rows}):
        values = [row.measure(key) for row in rows if row.seed == seed]
        means.append(float(np.mean(values)))
    known = [m for m in means if not math.isnan(m)]
    if not known:
        return Span(math.nan, math.nan, math.nan)
    return Span(float(np.mean(known)), min(known), max(known))


def finish(entry: StageRun, rows: Sequence[Row], methods: Sequence[str], classes: int) -> Result:
    """Log the table and the figure on the run; the result with the summary.

    Parameters
    ----------
    methods : in the order of the summary, after the base.
    classes : number of classes of the data set.
    """
    groups = {name: found for name in (BASE, *methods) if (found := [r for r in rows if r.method == name])}
    ordered = [row for found in groups.values() for row in found]
    summary = {name: {key: span(found, key) for key in MEASURES} for name, found in groups.items()}
    frame = pd.DataFrame([row.values() for row in ordered])
    entry.client.log_table(entry.run_id, frame, "tables/comparison.json")
    entry.client.log_text(entry.run_id, frame.to_csv(index=False), "tables/comparison.csv")
    entry.client.log_text(entry.run_id, markdown(groups, summary, ordered), "tables/comparison.md")
    points = [
        Point(name, s["forget.prob"], s["retain.accuracy"], s["retain.fid"], s["seconds"])
        for name, s in summary.items()
        if not math.isnan(s["forget.prob"].mean)
    ]
    if points:
        entry.figure(methods_compared(points, chance=1 / classes), "figures/comparison.png")
    for name, spans in summary.items():
        word = name.replace("+", ".")
        entry.recorder.metrics({f"compare.{word}.{key}": s.mean for key, s in spans.items()})
    document = {
        "rows": [{k: _plain(v) for k, v in row.values().items()} for row in ordered],
        "summary": {
            name: {key: {k: _plain(v) for k, v in asdict(s).items()} for key, s in spans.items()}
            for name, spans in summary.items()
        },
    }
    header, lines = _summary(groups, summary)
    return Result(document, table(header, lines))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _summary(
    groups: Mapping[str, Sequence[Row]], summary: Mapping[str, Mapping[str, Span]]
) -> tuple[list[str], list[list[str]]]:
    header = ["method", *(words for words, _ in MEASURES.values()), "real data", "target"]
    lines = [
        [
            name,
            *(spell(key, s.mean) for key, s in summary[name].items()),
            "yes" if found[0].needs_data else "no",
            found[0].target or "-",
        ]
        for name, found in groups.items()
    ]
    return header, lines


def markdown(
    groups: Mapping[str, Sequence[Row]], summary: Mapping[str, Mapping[str, Span]], rows: Sequence[Row]
) -> str:
    """The summary, then every row with its command."""
    header, lines = _summary(groups, summary)
    every = [
        [r.method, r.name, str(r.seed), *(spell(key, r.measure(key)) for key in MEASURES), f"`{r.command}`"]
        for r in rows
    ]
    columns = ["method", "class", "seed", *(words for words, _ in MEASURES.values()), "command"]
    return f"{_pipes(header, lines)}\n\nEvery row:\n\n{_pipes(columns, every)}\n"


def _pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
