"""What a tuner found: trials between forgetting and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sa_mlops.plots.style import LIGHT, SERIES_COLOURS, TEXT, WIDTH, Floats, Theme, dress, legend, new_figure


@dataclass(frozen=True, slots=True)
class Reference:
    """A setting to compare with: its forgetting gap [0, 2] and retention [0, 1]."""

    name: str
    gap: float
    retention: float


def pareto_front(
    gap: Floats,
    retention: Floats,
    on_front: NDArray[np.bool_],
    *,
    feasible: NDArray[np.bool_] | None = None,
    knee: int | None = None,
    references: Sequence[Reference] = (),
    title: str | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Trials by forgetting gap (lower is better) and retention (higher is better), (trials,) each.

    Parameters
    ----------
    on_front : trials that no other beats in both.
    feasible : trials that keep the constraint; the others are crosses.
    knee : trial chosen.
    """
    found = f"{on_front.sum()} of {len(gap)} trials are on the front"
    if knee is not None:
        found += f"; the knee has a gap of {gap[knee]:.3g} and a retention of {retention[knee]:.3f}"
    figure = new_figure(WIDTH, 3.6, title or found, theme)
    axes = figure.add_subplot()
    allowed = np.ones(len(gap), dtype=bool) if feasible is None else feasible
    broken, rest = ~allowed, allowed & ~on_front
    # An empty scatter would still have its line in the legend.
    if broken.any():
        axes.scatter(
            gap[broken], retention[broken], s=22, c=theme.faint, marker="x", label="breaks the constraint"
        )
    if rest.any():
        axes.scatter(
            gap[rest], retention[rest], s=16, c=SERIES_COLOURS[5], alpha=0.7, linewidths=0, label="trial"
        )
    order = np.flatnonzero(on_front)[np.argsort(gap[on_front])]
    axes.plot(
        gap[order],
        retention[order],
        "o-",
        color=SERIES_COLOURS[0],
        markersize=5,
        linewidth=1.4,
        label="front",
    )
    if knee is not None:
        axes.scatter(
            gap[knee], retention[knee], s=150, facecolors="none", edgecolors=theme.accent, linewidths=2, zorder=5,
            label="knee",
        )  # fmt: skip
    for reference, marker in zip(references, "*PDs^v", strict=False):
        axes.scatter(reference.gap, reference.retention, s=70, c=SERIES_COLOURS[1], marker=marker, edgecolors=theme.ink,
                     linewidths=0.5, zorder=4)  # fmt: skip
        axes.annotate(reference.name, (reference.gap, reference.retention), (6, -10), textcoords="offset points",
                      fontsize=TEXT, color=theme.ink)  # fmt: skip
    axes.set_xlabel("forgetting gap: 0 is forgotten, 2 a perfect digit")
    axes.set_ylabel("retention: half mean, half worst accuracy")
    dress(axes, theme)
    legend(axes, theme, loc="best")
    return figure
