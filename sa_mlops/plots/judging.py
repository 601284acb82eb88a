"""Trust in a judge: its reliability, and its answers to images from outside the data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sa_mlops.plots.curves import Curve, draw
from sa_mlops.plots.style import (
    LIGHT,
    SERIES_COLOURS,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    Labels,
    dress,
    fitted,
    heading,
    legend,
    name_columns,
    new_figure,
    panels,
)


def reliability_diagram(confidence: Floats, accuracy: Floats, count: Labels, *, ece: float) -> Figure:
    """Accuracy over confidence in bins (bins,), above the number of samples in each; empty bins are omitted.

    Parameters
    ----------
    ece : expected calibration error, [0, 1].
    """
    found = f"The judge's confidence is off by {100 * ece:.1f} points on average (ECE)"
    figure = new_figure(WIDTH * 0.65, 4.2, found)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=LIGHT.faint, linestyle="--", linewidth=1, label="confidence = accuracy")
    seen = count > 0
    top.plot(confidence[seen], accuracy[seen], "o-", color=SERIES_COLOURS[0], markersize=4, label="judge")
    top.set_ylim(0, 1.03)
    edges = np.linspace(0, 1, len(count) + 1)
    bottom.bar(
        edges[:-1], count, width=np.diff(edges), align="edge", color=SERIES_COLOURS[0], edgecolor=LIGHT.paper
    )
    bottom.set_yscale("symlog", linthresh=1)
    bottom.set_xlim(0, 1.02)
    dress(top, y="accuracy")
    dress(bottom, x="confidence in the first choice", y="samples")
    legend(top)
    return figure


def faded_images(contrasts: Sequence[float], as_is: Floats, either: Floats) -> Figure:
    """Shares of real images that a judge recognises over their contrast (n,), as they are and in either view."""
    found = f"Real images faded: recognised in either view, at least {either.min():.1%}"
    figure = new_figure(WIDTH * 0.65, 2.8, found)
    axes = figure.add_subplot()
    x = np.array(contrasts, dtype=np.float32)
    draw(axes, [Curve("in either view", x, either), Curve("as they are", x, as_is)])
    axes.set_xscale("log")
    axes.set_xticks(list(contrasts), [f"{c:g}" for c in contrasts])
    axes.minorticks_off()
    axes.set_ylim(-0.02, 1.02)
    dress(axes, x="contrast", y="recognised")
    legend(axes)
    return figure


def control_answers(probabilities: Floats, *, names: Sequence[str], classes: Sequence[str]) -> Figure:
    """A judge's mean answer (controls, K) to images from outside the data set, with its entropy in nats.

    Parameters
    ----------
    names : name of each control: grey, noise, and so on.
    """
    logs = np.log(np.clip(probabilities, 1e-12, 1))
    entropies = (probabilities * -logs).sum(axis=1)
    found = (
        f"No class above {probabilities.max():.2f}, entropy at least {entropies.min():.2f} nats "
        f"(uniform: {np.log(len(classes)):.2f})"
    )
    columns = max(1, min(len(names), 4, int(WIDTH / (0.12 * len(classes)))))
    rows = -(-len(names) // columns)
    below = fitted(classes, (WIDTH - 0.6) / columns / len(classes), SMALL)
    figure = new_figure(WIDTH, 0.8 + (1.5 + below.height) * rows, found)
    grid = panels(figure, len(names), columns, sharey=True)
    top = min(1.0, max(3 / len(classes), 1.1 * float(probabilities.max())))
    for axes, name, answer, entropy in zip(grid, names, probabilities, entropies, strict=True):
        axes.bar(range(len(answer)), answer, color=SERIES_COLOURS[0])
        axes.axhline(1 / len(classes), color=LIGHT.ink, linewidth=0.8, linestyle="--")
        heading(axes, name)
        axes.text(0.98, 0.95, f"H {entropy:.2f}", transform=axes.transAxes, ha="right", va="top", color=LIGHT.ink,
                  fontsize=TEXT)  # fmt: skip
        axes.set_ylim(0, top)
        dress(axes)
        name_columns(axes, below)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", labelsize=SMALL, length=0)
    for axes in grid[::columns]:
        axes.set_ylabel("probability", fontsize=TEXT)
    return figure
