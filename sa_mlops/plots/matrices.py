"""Tables as heat maps: the forgetting matrix, and every class over seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from sa_mlops.plots.style import (
    LIGHT,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    Theme,
    bare,
    colour_bar,
    fitted,
    heat,
    name_columns,
    new_figure,
    text_on,
)

Measure = Literal["probability", "entropy", "accuracy"]
CELL = 0.4
"""Least width in inches of a cell with a number in it."""


def annotated(
    axes: Axes,
    values: Floats,
    theme: Theme = LIGHT,
    *,
    low: float,
    high: float,
    spell: str | None = "{:.2f}",
    marked: NDArray[np.bool_] | None = None,
) -> AxesImage:
    """Heat map with numbers in its cells, unless `spell` is None; marked cells get a frame, NaN stays empty."""
    image = axes.imshow(np.ma.masked_invalid(values), cmap=heat(theme), vmin=low, vmax=high, aspect="auto")
    bare(axes, theme)
    for (r, c), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        if spell is not None:
            colour = text_on(image.to_rgba(value))  # type: ignore[arg-type]
            axes.text(c, r, spell.format(value), ha="center", va="center", fontsize=SMALL, color=colour)
        if marked is not None and marked[r, c]:
            axes.add_patch(
                Rectangle((c - 0.46, r - 0.46), 0.92, 0.92, fill=False, edgecolor=theme.accent, linewidth=1.6)
            )
    return image


def forgetting_matrix(
    values: Floats,
    *,
    measure: Measure,
    classes: Sequence[str],
    steps: Sequence[str],
    forgotten: Sequence[Collection[int]],
) -> Figure:
    """Every class after every step: values (steps, K); cells of classes forgotten by then are framed.

    Parameters
    ----------
    measure : of the values: probability or accuracy [0, 1], or entropy (nats, [0, ln K]).
    steps : name of each row.
    forgotten : the classes forgotten by then, for each row.
    """
    marked = np.array([[c in gone for c in range(len(classes))] for gone in forgotten])
    highest = float(np.log(len(classes))) if measure == "entropy" else 1.0
    found = _rebound_title(values, marked, measure, highest)
    figure, axes = _table(classes, len(values), found)
    image = annotated(axes, values, low=0.0, high=highest, marked=marked)
    axes.set_yticks(range(len(steps)), steps)
    axes.set_xlabel("requested class; framed: forgotten by then")
    colour_bar(figure, image, axes, f"{measure} (nats)" if measure == "entropy" else measure)
    return figure


def _table(classes: Sequence[str], rows: int, title: str) -> tuple[Figure, Axes]:
    """A figure for a heat map with a column per class."""
    width = max(WIDTH, CELL * len(classes) + 2.0)
    names = fitted(classes, (width - 2.0) / len(classes))
    figure = new_figure(width, 0.95 + names.height + 0.34 * rows, title)
    axes = figure.add_subplot()
    name_columns(axes, names)
    return figure, axes


def _rebound_title(values: Floats, marked: NDArray[np.bool_], measure: Measure, highest: float) -> str:
    if not marked.any():
        return f"Judge's {measure} before anything is forgotten"
    forgotten, retained = values[marked], values[~marked]
    if measure == "entropy":
        return f"Forgotten classes have at least {forgotten.min():.2f} of at most {highest:.2f} nats"
    return (
        f"Forgotten classes: {measure} at most {forgotten.max():.2f}; retained: at least {retained.min():.2f}"
    )


def class_table(
    values: Floats,
    *,
    name: str,
    classes: Sequence[str],
    seeds: Sequence[int],
    limit: float,
    better: Literal["low", "high"],
) -> Figure:
    """Every class forgotten on its own, under every seed: values (K, seeds); misses of the target are framed.

    Parameters
    ----------
    name : the metric.
    limit : the target, met by values at or on the better side of it.
    """
    missed = values > limit if better == "low" else values < limit
    sign = "≤" if better == "low" else "≥"
    worst = float(np.nanmax(values) if better == "low" else np.nanmin(values))
    found = f"{name}: {np.sum(~missed & ~np.isnan(values))} of {values.size} reach {sign} {limit:g}; worst {worst:.4g}"
    figure, axes = _table(classes, len(seeds), found)
    # The scale ends at the extremes, not at zero, so that differences between classes are visible.
    low, high = min(float(np.nanmin(values)), limit), max(float(np.nanmax(values)), limit) + 1e-9
    image = annotated(axes, values.T, low=low, high=high, spell="{:.4g}", marked=missed.T)
    axes.set_yticks(range(len(seeds)), [f"seed {seed}" for seed in seeds])
    axes.set_xlabel("forgotten class; framed: misses the target", fontsize=TEXT)
    colour_bar(figure, image, axes, name)
    return figure
