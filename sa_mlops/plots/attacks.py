"""Recovery attacks: strips of images, the judge's choices, success and loss over the budget, relearning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sa_mlops.plots.curves import Curve, draw
from sa_mlops.plots.grids import LINE, Answers, answer_lines, show
from sa_mlops.plots.style import (
    LIGHT,
    WIDTH,
    Floats,
    Labels,
    Theme,
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
    theme: Theme = LIGHT,
) -> Figure:
    """Strips of images (rows, columns, C, H, W): an attack per row, its steps from left to right.

    The independent judge's first choice and confidence stand under each image, in the accent colour for the target
    class.
    """
    n_rows, n_columns, _, height, width = images.shape
    room = (WIDTH - 1) / max(n_columns, 8)
    row = room * height / width + 1.4 * LINE * answer_lines(classes, room)
    figure = new_figure(WIDTH, 0.8 + n_rows * row, title, theme)
    show(
        figure.add_subplot(), images, theme, room=room, columns=columns, rows=rows, answers=answers, classes=classes,
        target=target,
    )  # fmt: skip
    return figure


def prediction_histogram(
    counts: Labels,
    *,
    models: Sequence[str],
    classes: Sequence[str],
    target: int,
    title: str | None = None,
    theme: Theme = LIGHT,
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
    figure = new_figure(WIDTH, 2.6 + names.height, title or found, theme)
    axes = figure.add_subplot()
    width = 0.8 / len(models)
    for i, (name, row, (colour, _)) in enumerate(zip(models, shares, series(), strict=False)):
        offsets = np.arange(len(row)) - 0.4 + (i + 0.5) * width
        axes.bar(offsets, row, width=width * 0.92, color=colour, label=name)
    axes.set_xlabel("judge's first choice")
    axes.set_ylabel("share of attempts")
    dress(axes, theme)
    name_columns(axes, names, theme, marked={target})
    axes.grid(visible=False, axis="x")
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
    """Share of successful attacks, [0, 1], over their budget: a curve with its band per model."""
    return _shares(curves, title, budget, "successful attacks", "log" if log else "linear", theme)


def relearning(
    curves: Sequence[Curve],
    *,
    title: str,
    measure: str = "images accepted as the class",
    theme: Theme = LIGHT,
) -> Figure:
    """Share of images accepted as the class, [0, 1], over fine-tuning steps: a curve with its band per model."""
    return _shares(curves, title, "fine-tuning steps on real images", measure, "symlog", theme)


def loss_along_paths(curves: Sequence[Curve], *, title: str, theme: Theme = LIGHT) -> Figure:
    """An attack's loss, nats, over its steps: a curve per model.

    A flat curve points to masked gradients; attacks without gradients then succeed.
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
