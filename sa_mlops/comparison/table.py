"""The table of a comparison: a row each method, class and seed, and a summary of each method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from sa_mlops.config import CONTROL
from sa_mlops.plots.comparison import Point, Span, attacks_compared, methods_compared
from sa_mlops.registry import claims
from sa_mlops.stages.measure import BASE_PREFIX
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

BASE = "base"
"""The method's name in rows of the base."""
CHANGE = "change."
"""Prefix of a measure: a metric minus the base's at the same latents."""
MEASURES = {
    "forget.prob": ("p", "{:.4f}"),
    "forget.prob_autolevels": ("p, levels", "{:.4f}"),
    "screen.prob": ("p, screen", "{:.4f}"),
    "retain.accuracy": ("retained", "{:.4f}"),
    "change.retain.accuracy": ("change", "{:+.4f}"),
    "retain.fid": ("FID", "{:.2f}"),
    "change.retain.fid": ("change of FID", "{:+.2f}"),
    "retain.recall": ("recall", "{:.4f}"),
    "seconds": ("seconds", "{:.1f}"),
}
"""Measure -> its heading and spelling: metrics of `forget`, their changes against the base, and the seconds."""
ATTACKS = {claims.metric(level): (level, "{:.2f}") for level in claims.LEVELS}
"""Further measures, of rows whose version was probed: the success of each level of attack."""
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
        """One of `MEASURES` or `ATTACKS`; NaN if it is unknown."""
        if key == "seconds":
            spent = [self.metrics[k] for k in SECONDS if k in self.metrics]
            return sum(spent) if spent else math.nan
        if key.startswith(CHANGE):
            metric = key.removeprefix(CHANGE)
            return self.metrics.get(metric, math.nan) - self.metrics.get(BASE_PREFIX + metric, math.nan)
        return self.metrics.get(key, math.nan)

    @property
    def line(self) -> str:
        """The row among progress lines."""
        numbers = "  ".join(
            f"{words} {spell(key, self.measure(key))}" for key, (words, _) in MEASURES.items()
        )
        return f"{self.method}, class {self.name}, seed {self.seed}: {numbers}"

    def values(self, measures: Iterable[str]) -> dict[str, Any]:
        """The row's columns, with these measures."""
        return {
            "method": self.method,
            "class": self.name,
            "seed": self.seed,
            **{key: self.measure(key) for key in measures},
            "needs_data": self.needs_data,
            "target": self.target,
            "version": self.version,
            "command": self.command,
        }


def spell(key: str, value: float) -> str:
    """A measure as text; a dash if it is unknown."""
    return "-" if math.isnan(value) else (MEASURES | ATTACKS)[key][1].format(value)


def measured(rows: Sequence[Row]) -> dict[str, str]:
    """The measures of a table with these rows -> their headings; an attack that was made on no row is left out."""
    made = [key for key in ATTACKS if any(key in row.metrics for row in rows)]
    return {key: words for key, (words, _) in (MEASURES | ATTACKS).items() if key in MEASURES or key in made}


def ranged(key: str, found: Span) -> str:
    """A mean over seeds as text, followed by the least and the largest where they differ from it."""
    words, *ends = (spell(key, value) for value in (found.mean, found.low, found.high))
    return words if set(ends) == {words} else f"{words} ({ends[0]} to {ends[1]})"


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


def with_control(rows: Sequence[Row]) -> list[Row]:
    """The same rows; the retrained control's have the attacks that `probe` made on it beside another row's version."""
    beside: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        recorded = {level: row.metrics.get(claims.metric(level, "retrained")) for level in claims.LEVELS}
        found = {claims.metric(level): value for level, value in recorded.items() if value is not None}
        beside.setdefault((row.name, row.seed), {}).update(found)
    return [
        replace(row, metrics=beside[row.name, row.seed] | dict(row.metrics)) if row.method == CONTROL else row
        for row in rows
    ]


def finish(entry: StageRun, rows: Sequence[Row], methods: Sequence[str], classes: int) -> Result:
    """Log the table and the figures on the run; the result with the summary.

    Parameters
    ----------
    methods : in the order of the summary, after the base.
    classes : number of classes of the data set.
    """
    groups = {name: found for name in (BASE, *methods) if (found := [r for r in rows if r.method == name])}
    ordered = [row for found in groups.values() for row in found]
    shown = measured(ordered)
    summary = {name: {key: span(found, key) for key in shown} for name, found in groups.items()}
    frame = pd.DataFrame([row.values(shown) for row in ordered])
    entry.client.log_table(entry.run_id, frame, "tables/comparison.json")
    entry.client.log_text(entry.run_id, frame.to_csv(index=False), "tables/comparison.csv")
    entry.client.log_text(entry.run_id, markdown(groups, summary, shown), "tables/comparison.md")
    _draw(entry, summary, classes)
    for name, spans in summary.items():
        word = name.replace("+", ".")
        entry.recorder.metrics({f"compare.{word}.{key}": s.mean for key, s in spans.items()})
    document = {
        "rows": [{k: _plain(v) for k, v in row.values(shown).items()} for row in ordered],
        "summary": {
            name: {key: {k: _plain(v) for k, v in asdict(s).items()} for key, s in spans.items()}
            for name, spans in summary.items()
        },
    }
    means = {name: {k: spell(k, s.mean) for k, s in spans.items()} for name, spans in summary.items()}
    return Result(document, table(*_summary(groups, means, shown)))


def _draw(entry: StageRun, summary: Mapping[str, Mapping[str, Span]], classes: int) -> None:
    points = [
        Point(name, s["forget.prob"], s["change.retain.accuracy"], s["change.retain.fid"], s["seconds"])
        for name, s in summary.items()
        if not math.isnan(s["forget.prob"].mean)
    ]
    if points:
        entry.figure(methods_compared(points, chance=1 / classes), "figures/comparison.png")
    attacked = {
        name: {
            words: s[key] for key, (words, _) in ATTACKS.items() if key in s and not math.isnan(s[key].mean)
        }
        for name, s in summary.items()
    }
    if any(attacked.values()):
        entry.figure(attacks_compared(attacked), "figures/attacks.png")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _summary(
    groups: Mapping[str, Sequence[Row]], cells: Mapping[str, Mapping[str, str]], shown: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    header = ["method", *shown.values(), "real data", "target"]
    lines = [
        [
            name,
            *cells[name].values(),
            "yes" if found[0].needs_data else "no",
            found[0].target or "-",
        ]
        for name, found in groups.items()
    ]
    return header, lines


def markdown(
    groups: Mapping[str, Sequence[Row]], summary: Mapping[str, Mapping[str, Span]], shown: Mapping[str, str]
) -> str:
    """The summary with ranges over the seeds, then every row with its command.

    Parameters
    ----------
    groups, summary : method -> its rows, and its measures.
    shown : measure -> heading.
    """
    cells = {name: {k: ranged(k, s) for k, s in spans.items()} for name, spans in summary.items()}
    every = [
        [r.method, r.name, str(r.seed), *(spell(key, r.measure(key)) for key in shown), f"`{r.command}`"]
        for rows in groups.values()
        for r in rows
    ]
    columns = ["method", "class", "seed", *shown.values(), "command"]
    return f"{_pipes(*_summary(groups, cells, shown))}\n\nEvery row:\n\n{_pipes(columns, every)}\n"


def _pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
