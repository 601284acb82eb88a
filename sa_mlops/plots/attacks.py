"""Recovery attacks: strips of images, the judge's choices, success and loss over the budget, relearning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sa_mlops.plots.curves import Curve, draw
from sa_mlops.plots.grids import LINE, Answers, answer_lines, show
from sa_mlops.plots.style import (
    WIDTH,
    Floats,
    Labels,
    dress,
    fitted,
    legend,
    name_columns,
    new_figure,
    series,
)


def attack_strips(
    images: Floats,
    answers: Answers,
    *,
    title: str,
    classes: Sequence[str],
    target: int,
    rows: Sequence[str],
    columns: Sequence[str] = (),
) -> Figure:
    """Strips of images (rows, columns, C, H, W): an attack per row, its steps from left to right.

    The independent judge's first choice and confidence stand under each image, in the accent colour for the target
    class.
    """
    n_rows, n_columns, _, height, width = images.shape
    room = (WIDTH - 1) / max(n_columns, 8)
    row = room * height / width + 1.4 * LINE * answer_lines(classes, room)
    figure = new_figure(WIDTH, 0.8 + n_rows * row, title)
    show(
        figure.add_subplot(), images, room=room, columns=columns, rows=rows, answers=answers, classes=classes,
        target=target,
    )  # fmt: skip
    return figure


def prediction_histogram(
    counts: Labels, *, models: Sequence[str], classes: Sequence[str], target: int
) -> Figure:
    """First choices of an independent judge on the results of an attack, as shares of the attempts.

    Parameters
    ----------
    counts : (models, K) int, attempts by the judge's first choice.
    models : name of each model, for example base, v3, retrained.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    found = f"Judged as {classes[target]}: " + ", ".join(
        f"{name} {share:.0%}" for name, share in zip(models, shares[:, target], strict=True)
    )
    names = fitted(classes, (WIDTH - 0.7) / len(classes))
    figure = new_figure(WIDTH, 2.6 + names.height, found)
    axes = figure.add_subplot()
    width = 0.8 / len(models)
    for i, (name, row, (colour, _)) in enumerate(zip(models, shares, series(), strict=False)):
        offsets = np.arange(len(row)) - 0.4 + (i + 0.5) * width
        axes.bar(offsets, row, width=width * 0.92, color=colour, label=name)
    dress(axes, x="judge's first choice", y="share of attempts")
    name_columns(axes, names, marked={target})
    axes.grid(visible=False, axis="x")
    legend(axes)
    return figure


def success_against_budget(curves: Sequence[Curve], *, title: str) -> Figure:
    """Share of successful attacks, [0, 1], over their steps: a curve with its band per model."""
    return _shares(curves, title, "attack steps", "successful attacks", "log")


def relearning(curves: Sequence[Curve], *, title: str) -> Figure:
    """Share of images accepted as the class, [0, 1], over fine-tuning steps: a curve with its band per model."""
    return _shares(
        curves, title, "fine-tuning steps on real images", "images accepted as the class", "symlog"
    )


def loss_along_paths(curves: Sequence[Curve], *, title: str) -> Figure:
    """An attack's loss, nats, over its steps: a curve per model.

    A flat curve points to masked gradients; attacks without gradients then succeed.
    """
    figure, axes = _over(curves, title, "attack steps", "attacker's cross-entropy, nats")
    axes.set_ylim(bottom=0)
    legend(axes)
    return figure


def _shares(curves: Sequence[Curve], title: str, x: str, y: str, scale: str) -> Figure:
    figure, axes = _over(curves, title, x, y)
    axes.set_xscale(scale)
    axes.set_ylim(-0.02, 1.02)
    legend(axes)
    return figure


def _over(curves: Sequence[Curve], title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, 3.0, title)
    axes = figure.add_subplot()
    draw(axes, curves)
    dress(axes, x=x, y=y)
    return figure, axes
