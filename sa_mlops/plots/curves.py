"""Curves over training steps, and the spread of the Fisher information over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sa_mlops.plots.style import (
    LIGHT,
    SERIES_COLOURS,
    SMALL,
    WIDTH,
    Floats,
    Theme,
    dress,
    heading,
    legend,
    new_figure,
    panels,
    series,
)


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line.

    Attributes
    ----------
    x, y : (n,) each.
    low, high : (n,) bounds of a band round it, or None.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


def smoothed(curve: Curve, width: int) -> Curve:
    """Means of each `width` successive points, in a band from least to largest; a shorter remainder is dropped."""
    count = len(curve.x) // width
    x, y = (values[: count * width].reshape(count, width) for values in (curve.x, curve.y))
    return Curve(curve.name, x.mean(axis=1), y.mean(axis=1), y.min(axis=1), y.max(axis=1))


@dataclass(frozen=True, slots=True)
class Term:
    """One loss term of several runs, drawn over each other; `log` for a logarithmic axis."""

    name: str
    curves: Sequence[Curve]
    log: bool = False


def draw(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw curves with their bands, each in its own colour and dash."""
    for curve, (colour, dash) in zip(curves, series(), strict=False):
        axes.plot(curve.x, curve.y, label=curve.name, color=colour, linestyle=dash, linewidth=1.6)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def loss_terms(terms: Sequence[Term], *, title: str, unit: str = "nats", theme: Theme = LIGHT) -> Figure:
    """Loss terms over steps: a panel per term, all runs in each."""
    columns = min(len(terms), 2)
    figure = new_figure(WIDTH, 0.7 + 2.1 * -(-len(terms) // columns), title, theme)
    for axes, term in zip(panels(figure, len(terms), columns), terms, strict=True):
        draw(axes, term.curves)
        heading(axes, term.name, theme)
        axes.set_yscale("log" if term.log else "linear")
        dress(axes, theme, x="step", y=unit)
    legend(figure.axes[0], theme)
    return figure


def gradient_norms(curves: Sequence[Curve], *, title: str) -> Figure:
    """Norm of the gradient over steps, logarithmic."""
    return loss_terms([Term("gradient norm", curves, log=True)], title=title, unit="")


def layer_fisher(diagonal: Mapping[str, Floats]) -> Figure:
    """Spread of the Fisher diagonal in each parameter tensor: 5th to 95th percentile, quartiles, median, mean.

    Parameters
    ----------
    diagonal : parameter name -> non-negative values of any shape; drawn top to bottom in the order given.
    """
    figure = new_figure(WIDTH, 0.9 + 0.32 * len(diagonal), _fisher_title(diagonal))
    axes = figure.add_subplot()
    for row, values in enumerate(diagonal.values()):
        flat = np.ravel(values)
        positive = flat[flat > 0]
        zeros = 1 - len(positive) / flat.size
        if len(positive):
            p5, p25, p50, p75, p95 = np.percentile(positive, [5, 25, 50, 75, 95])
            axes.plot([p5, p95], [row, row], color=LIGHT.faint, linewidth=1.5, solid_capstyle="butt")
            axes.plot([p25, p75], [row, row], color=SERIES_COLOURS[0], linewidth=6, solid_capstyle="butt")
            axes.plot(p50, row, "|", color=LIGHT.ink, markersize=9)
            axes.plot(flat.mean(), row, "D", color=SERIES_COLOURS[1], markersize=4)
        axes.text(
            1.01, row, f"{zeros:.0%}", transform=axes.get_yaxis_transform(), va="center",
            color=LIGHT.ink, fontsize=SMALL,
        )  # fmt: skip
    axes.text(1.01, -0.9, "zero", transform=axes.get_yaxis_transform(), color=LIGHT.ink, fontsize=SMALL)
    axes.set_yticks(range(len(diagonal)), list(diagonal))
    axes.set_ylim(len(diagonal) - 0.5, -0.5)
    axes.set_xscale("log")
    dress(axes, x="Fisher value, of those above zero: 5-95 %, quartiles, median;\nmean of all (diamond)")
    return figure


def _fisher_title(diagonal: Mapping[str, Floats]) -> str:
    totals = {name: float(np.sum(values, dtype=np.float64)) for name, values in diagonal.items()}
    most = max(totals, key=totals.__getitem__)
    share = totals[most] / max(sum(totals.values()), np.finfo(float).tiny)
    return f"{most} holds {share:.0%} of the Fisher information"
