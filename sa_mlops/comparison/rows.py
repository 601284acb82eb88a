"""The rows of a comparison: a version each, with its measures. Without PyTorch, MLflow and matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Self

from sa_mlops.config import CONTROL
from sa_mlops.plots.spans import Span
from sa_mlops.registry import claims
from sa_mlops.registry.names import BASE_PREFIX

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
        means.append(fmean(values))
    known = [m for m in means if not math.isnan(m)]
    if not known:
        return Span(math.nan, math.nan, math.nan)
    return Span(fmean(known), min(known), max(known))


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
