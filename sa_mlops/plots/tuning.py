"""Results of tuning: trials between forgetting and retention."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from sa_mlops.plots.style import (
    LIGHT,
    SERIES_COLOURS,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    colour_bar,
    dress,
    heat,
    legend,
    legend_below,
    new_figure,
    panels,
)


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
) -> Figure:
    """Trials by forgetting gap (lower is better) and retention (higher is better), (trials,) each.

    Parameters
    ----------
    on_front : trials that no other one beats in both.
    feasible : trials that satisfy the constraint; the others are crosses.
    knee : the chosen trial.
    """
    found = f"{on_front.sum()} of {len(gap)} trials are on the front"
    if knee is not None:
        found += f"; the knee has a gap of {gap[knee]:.3g} and a retention of {retention[knee]:.3f}"
    figure = new_figure(WIDTH, 3.6, found)
    axes = figure.add_subplot()
    allowed = np.ones(len(gap), dtype=bool) if feasible is None else feasible
    broken, dominated = ~allowed, allowed & ~on_front
    # An empty scatter would still appear in the legend.
    if broken.any():
        axes.scatter(
            gap[broken], retention[broken], s=22, c=LIGHT.faint, marker="x", label="breaks the constraint"
        )
    if dominated.any():
        axes.scatter(
            gap[dominated],
            retention[dominated],
            s=16,
            c=SERIES_COLOURS[5],
            alpha=0.7,
            linewidths=0,
            label="trial",
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
            gap[knee], retention[knee], s=150, facecolors="none", edgecolors=LIGHT.accent, linewidths=2, zorder=5,
            label="knee",
        )  # fmt: skip
    for reference, marker in zip(references, "*PDs^v", strict=False):
        axes.scatter(reference.gap, reference.retention, s=70, c=SERIES_COLOURS[1], marker=marker, edgecolors=LIGHT.ink,
                     linewidths=0.5, zorder=4)  # fmt: skip
        axes.annotate(reference.name, (reference.gap, reference.retention), (6, -10), textcoords="offset points",
                      fontsize=TEXT, color=LIGHT.ink)  # fmt: skip
    if positive_and_wide(gap):
        axes.set_xscale("log")
    dress(
        axes,
        x="forgetting gap: 0 forgotten, 2 drawn perfectly",
        y="retention: half mean, half worst accuracy",
    )
    legend(axes, loc="best")
    return figure


def slices(
    values: Mapping[str, NDArray[Any]],
    objectives: Mapping[str, Floats],
    *,
    on_front: NDArray[np.bool_],
    feasible: NDArray[np.bool_] | None = None,
) -> Figure:
    """Each objective (rows) over each parameter (columns), a dot per trial.

    Parameters
    ----------
    values : parameter -> (trials,) numbers, drawn on a logarithmic axis, or words.
    objectives : name -> (trials,).
    on_front, feasible : (trials,), as in `pareto_front`.
    """
    columns = max(1, len(values))
    figure = new_figure(WIDTH, 0.6 + 1.9 * len(objectives), "Each objective over each parameter")
    grid = figure.subplots(len(objectives), columns, squeeze=False, sharex="col", sharey="row")
    allowed = np.ones(len(on_front), dtype=bool) if feasible is None else feasible
    groups = (
        (~allowed, LIGHT.faint, "x", "breaks the constraint"),
        (allowed & ~on_front, SERIES_COLOURS[5], "o", "trial"),
        (on_front, SERIES_COLOURS[0], "o", "front"),
    )
    for row, (objective, heights) in enumerate(objectives.items()):
        for axes, (name, points) in zip(grid[row], values.items(), strict=True):
            for rows, colour, marker, label in groups:
                axes.scatter(
                    points[rows], heights[rows], s=14, c=colour, marker=marker, linewidths=0.8, label=label
                )
            if np.issubdtype(points.dtype, np.number):
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
                if points.max() < 10 * points.min():
                    # Within a decade there may be no power of ten.
                    axes.set_xticks([float(points.min()), float(points.max())])
                    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
            dress(axes, x=name if row == len(objectives) - 1 else "")
        grid[row][0].set_ylabel(objective)
        if positive_and_wide(heights):
            grid[row][0].set_yscale("log")
    legend_below(figure, *grid[0][0].get_legend_handles_labels(), columns=3)
    return figure


def importance(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Share of each objective's variance that each parameter explains, bars side by side.

    Parameters
    ----------
    shares : objective -> parameter -> share in [0, 1]; the same parameters for every objective.
    """
    first = next(iter(shares.values()))
    names = sorted(first, key=lambda name: sum(s[name] for s in shares.values()))
    leader = {objective: max(s, key=lambda name: s[name]) for objective, s in shares.items()}
    found = "Most important: " + ", ".join(
        f"{name} for the {objective}" for objective, name in leader.items()
    )
    figure = new_figure(WIDTH, 1.2 + 0.45 * len(names), found)
    axes = figure.add_subplot()
    height = 0.8 / len(shares)
    for i, (objective, share) in enumerate(shares.items()):
        places = np.arange(len(names)) + (len(shares) / 2 - i - 0.5) * height
        widths = [share[name] for name in names]
        axes.barh(places, widths, height * 0.9, color=SERIES_COLOURS[i], label=objective)
        for place, width in zip(places, widths, strict=True):
            axes.annotate(f"{width:.2f}", (width, place), (3, 0), textcoords="offset points", va="center",
                          fontsize=SMALL, color=LIGHT.ink)  # fmt: skip
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_xlim(0, 1.05)
    dress(axes, x="share of the objective's variance (fANOVA)")
    legend(axes, loc="lower right")
    return figure


def contours(
    values: Mapping[str, Floats], objective: Floats, *, name: str, on_front: NDArray[np.bool_]
) -> Figure:
    """One objective over every pair of parameters, interpolated between trials; dots are trials, rings the front.

    Parameters
    ----------
    values : parameter -> (trials,) positive numbers, two parameters at least; axes are logarithmic.
    objective : (trials,).
    name : of the objective.
    """
    pairs = list(itertools.combinations(values, 2))
    columns = min(3, len(pairs))
    lines = -(-len(pairs) // columns)
    log = positive_and_wide(objective)
    figure = new_figure(WIDTH, 0.7 + 2.1 * lines, f"The {name} over pairs of parameters")
    grid = panels(figure, len(pairs), columns)
    shown = np.log10(objective) if log else objective
    levels = np.linspace(float(shown.min()), float(shown.max()) + 1e-9, 11)
    colours, norm = heat(), Normalize(levels[0], levels[-1])
    for axes, (across, up) in zip(grid, pairs, strict=True):
        x, y = np.log10(values[across]), np.log10(values[up])
        # Collinear points span no area to colour.
        if np.linalg.matrix_rank(np.column_stack([x - x.mean(), y - y.mean()]), tol=1e-6) == 2:
            axes.tricontourf(x, y, shown, levels=levels, cmap=colours, norm=norm)
        axes.scatter(x, y, s=6, c=LIGHT.ink, linewidths=0)
        axes.scatter(x[on_front], y[on_front], s=26, facecolors="none", edgecolors=LIGHT.accent, linewidths=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda v, _: f"{10**v:.2g}")
            axis.set_major_locator(MaxNLocator(4))
        dress(axes, x=across, y=up, grid=False)
        axes.tick_params(labelsize=SMALL)
    bar = colour_bar(figure, ScalarMappable(norm, colours), grid, name)
    bar.ax.yaxis.set_major_formatter(lambda v, _: f"{10**v if log else v:.3g}")
    return figure


def positive_and_wide(values: Floats) -> bool:
    """Whether values are all above zero and span so much that small ones need a logarithmic scale."""
    return bool(len(values)) and float(values.min()) > 0 and float(values.max()) > 20 * float(values.min())
