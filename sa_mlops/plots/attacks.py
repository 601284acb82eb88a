"""Attacks that try to bring a class back: strips, what a judge saw, success and loss over budget, relearning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sa_mlops.plots.curves import Curve, draw
from sa_mlops.plots.grids import Answers, show
from sa_mlops.plots.style import LIGHT, TEXT, WIDTH, Floats, Labels, Theme, dress, legend, new_figure, series


def attack_strips(
    images: Floats,
    answers: Answers,
    *,
    title: str,
    target: int,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Strips of images (rows, columns, 28, 28): an attack a row, its steps from left to right.

    The independent judge's first choice and confidence stand under each image, in the accent colour where it is the
    target class.
    """
    n_rows, n_columns = images.shape[:2]
    cell = (WIDTH - 1) / max(n_columns, 8)
    figure = new_figure(WIDTH, 0.8 + n_rows * cell * 1.33, title, theme)
    show(figure.add_subplot(), images, theme, columns=columns, rows=rows, answers=answers, target=target)
    return figure


def prediction_histogram(
    counts: Labels, *, names: Sequence[str], target: int, title: str | None = None, theme: Theme = LIGHT
) -> Figure:
    """What an independent judge saw in the results of an attack, as shares of the attempts.

    Parameters
    ----------
    counts : (models, 10) int, attempts by the judge's first choice.
    names : name of each model, for example base, amnesia, oracle.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    found = "Judged as a {}: {}".format(
        target, ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares[:, target], strict=True))
    )
    figure = new_figure(WIDTH, 2.7, title or found, theme)
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for i, (name, row, (colour, _)) in enumerate(zip(names, shares, series(), strict=False)):
        offsets = np.arange(len(row)) - 0.4 + (i + 0.5) * width
        axes.bar(offsets, row, width=width * 0.92, color=colour, label=name)
    axes.set_xticks(range(shares.shape[1]))
    axes.set_xlabel("judge's first choice")
    axes.set_ylabel("share of attempts")
    dress(axes, theme)
    axes.grid(visible=False, axis="x")
    axes.get_xticklabels()[target].set(color=theme.accent, fontweight="bold", fontsize=TEXT + 2)
    legend(axes, theme)
    return figure


def success_against_budget(
    curves: Sequence[Curve],
    *,
    title: str,
    budget: str = "attack steps",
    log: bool = True,
    theme: Theme = LIGHT,
) -> Figure:
    """Share of attacks that succeed, [0, 1], over their budget, one curve with its band a model."""
    return _shares(curves, title, budget, "attacks that succeed", "log" if log else "linear", theme)


def relearning(
    curves: Sequence[Curve],
    *,
    title: str,
    measure: str = "images accepted as the class",
    theme: Theme = LIGHT,
) -> Figure:
    """How fast a class comes back, [0, 1], over fine-tuning steps from 0 on, one curve with its band a model."""
    return _shares(curves, title, "fine-tuning steps on real images", measure, "symlog", theme)


def loss_along_paths(curves: Sequence[Curve], *, title: str, theme: Theme = LIGHT) -> Figure:
    """An attack's own loss, nats, over its steps, one curve a model.

    Where gradients were only masked, the curve would stay flat, and attacks that need no gradient would get through.
    """
    figure, axes = _over(curves, title, "attack steps", "attacker's cross-entropy, nats", theme)
    axes.set_ylim(bottom=0)
    legend(axes, theme)
    return figure


def _shares(curves: Sequence[Curve], title: str, x: str, y: str, scale: str, theme: Theme) -> Figure:
    figure, axes = _over(curves, title, x, y, theme)
    axes.set_xscale(scale)
    axes.set_ylim(-0.02, 1.02)
    legend(axes, theme)
    return figure


def _over(curves: Sequence[Curve], title: str, x: str, y: str, theme: Theme) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, 3.0, title, theme)
    axes = figure.add_subplot()
    draw(axes, curves)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    dress(axes, theme)
    return figure, axes
