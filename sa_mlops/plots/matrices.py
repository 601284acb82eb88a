"""Tables as heat maps: the forgetting matrix, and all ten digits over seeds."""

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
    heat,
    new_figure,
    text_on,
)

Measure = Literal["probability", "entropy", "accuracy"]
MAX_ENTROPY = float(np.log(10))


def annotated(
    axes: Axes,
    values: Floats,
    theme: Theme,
    *,
    low: float,
    high: float,
    spell: str = "{:.2f}",
    marked: NDArray[np.bool_] | None = None,
) -> AxesImage:
    """Heat map with its numbers in the cells; marked cells get a frame, NaN stays empty."""
    image = axes.imshow(np.ma.masked_invalid(values), cmap=heat(theme), vmin=low, vmax=high, aspect="auto")
    bare(axes, theme)
    for (r, c), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
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
    steps: Sequence[str],
    forgotten: Sequence[Collection[int]],
    title: str | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Every class after every step: values (steps, 10); cells of classes forgotten by then are framed.

    Parameters
    ----------
    measure : what the values are: probability or accuracy [0, 1], or entropy (nats, [0, ln 10]).
    steps : name of each row.
    forgotten : for each row, the classes forgotten by then.
    """
    marked = np.array([[c in gone for c in range(values.shape[1])] for gone in forgotten])
    figure = new_figure(
        WIDTH, 1.1 + 0.34 * len(values), title or _rebound_title(values, marked, measure), theme
    )
    axes = figure.add_subplot()
    high = MAX_ENTROPY if measure == "entropy" else 1.0
    image = annotated(axes, values, theme, low=0.0, high=high, marked=marked)
    axes.set_xticks(range(values.shape[1]))
    axes.set_yticks(range(len(steps)), steps)
    axes.set_xlabel("class asked for; framed: forgotten by then")
    colour_bar(figure, image, axes, f"{measure} (nats)" if measure == "entropy" else measure, theme)
    return figure


def _rebound_title(values: Floats, marked: NDArray[np.bool_], measure: Measure) -> str:
    if not marked.any():
        return f"Judge's {measure} before anything is forgotten"
    gone, kept = values[marked], values[~marked]
    if measure == "entropy":
        return f"Forgotten classes stay at {gone.min():.2f} nats or more (at most {MAX_ENTROPY:.2f} are possible)"
    return f"Forgotten classes stay at {gone.max():.2f} or less, the others at {kept.min():.2f} or more ({measure})"


def digit_table(
    values: Floats,
    *,
    name: str,
    seeds: Sequence[int],
    limit: float,
    better: Literal["low", "high"],
    title: str | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Every digit forgotten on its own, under every seed: values (10, seeds); misses of the target are framed.

    Parameters
    ----------
    name : the metric.
    limit : the target, met by values at or on the better side of it.
    """
    missed = values > limit if better == "low" else values < limit
    sign = "≤" if better == "low" else "≥"
    worst = float(np.nanmax(values) if better == "low" else np.nanmin(values))
    found = f"{name}: {np.sum(~missed & ~np.isnan(values))} of {values.size} reach {sign} {limit:g}; worst {worst:.4g}"
    figure = new_figure(WIDTH, 1.2 + 0.34 * len(seeds), title or found, theme)
    axes = figure.add_subplot()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # Differences between digits matter here, not the distance to zero; equal values get one colour.
    image = annotated(
        axes,
        values.T,
        theme,
        low=min(low, limit),
        high=max(high, limit) + 1e-9,
        spell="{:.4g}",
        marked=missed.T,
    )
    axes.set_xticks(range(len(values)))
    axes.set_yticks(range(len(seeds)), [f"seed {seed}" for seed in seeds])
    axes.set_xlabel("digit forgotten; framed: misses the target", fontsize=TEXT)
    colour_bar(figure, image, axes, name, theme)
    return figure
