"""The latent space before and after forgetting."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from sa_mlops.plots.grids import draw_canvas, mosaic
from sa_mlops.plots.matrices import CELL, annotated
from sa_mlops.plots.style import (
    LIGHT,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    Labels,
    Theme,
    bare,
    class_look,
    colour_bar,
    dress,
    fitted,
    heading,
    legend_below,
    mark,
    name_columns,
    new_figure,
    text_width,
)

NUMBERED = 12
"""Most classes for which a matrix of distances has numbers in its cells."""


def _pair(
    title: str, classes: Sequence[str], forgotten: Collection[int], theme: Theme, *, sharey: bool
) -> Figure:
    """A figure with the panels before and after, above a key to the classes."""
    names = [f"{name} forgotten" if c in forgotten else name for c, name in enumerate(classes)]
    columns = _key_columns(names)
    lines = -(-len(names) // columns)
    figure = new_figure(WIDTH, 4.0 + 0.2 * lines, title, theme)
    for axes, name in zip(figure.subplots(1, 2, sharey=sharey), ("before", "after"), strict=True):
        heading(axes, name, theme)
    looks = [class_look(c) for c in range(len(classes))]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=6) for colour, marker in looks
    ]
    legend_below(figure, handles, names, columns=columns, theme=theme, columnspacing=0.9, handletextpad=0.1)
    return figure


def _key_columns(names: Sequence[str]) -> int:
    """Columns of a key that is as wide as a figure; names go down one column after another."""
    widths = [text_width(len(name)) + 0.3 for name in names]
    for lines in range(1, len(names)):
        if sum(max(widths[i : i + lines]) for i in range(0, len(names), lines)) <= WIDTH:
            return -(-len(names) // lines)
    return 1


def _scatter_classes(
    axes: Axes, points: Floats, labels: Labels, classes: int, forgotten: Collection[int], theme: Theme
) -> None:
    """Points (n, 2) in the colours and markers of their classes, the forgotten ones on top and ringed."""
    for c in sorted(range(classes), key=lambda c: c in forgotten):
        colour, marker = class_look(c)
        x, y = points[labels == c].T
        ringed = c in forgotten
        axes.scatter(
            x, y, s=9 if ringed else 6, c=colour, marker=marker, alpha=0.9 if ringed else 0.6,
            linewidths=0.4 if ringed else 0, edgecolors=theme.ink, rasterized=True,
        )  # fmt: skip


def embedding_pair(
    before: Floats,
    after: Floats,
    labels: Labels,
    *,
    title: str,
    classes: Sequence[str],
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """t-SNE maps (n, 2) of the same images under two models; distances on a map have no unit, so no axes are drawn."""
    figure = _pair(title, classes, forgotten, theme, sharey=False)
    # One scale and one centre, so that positions can be compared.
    limit = 1.03 * max(float(np.abs(before).max()), float(np.abs(after).max()))
    for axes, points in zip(figure.axes, (before, after), strict=True):
        _scatter_classes(axes, points, labels, len(classes), forgotten, theme)
        bare(axes, theme)
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
    return figure


def latent_pair(
    before: Floats,
    after: Floats,
    labels: Labels,
    *,
    title: str,
    classes: Sequence[str],
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Posterior means (n, 2) of two models with z_dim = 2 on the same axes; circles hold 39 % and 86 % of the prior."""
    figure = _pair(title, classes, forgotten, theme, sharey=True)
    limit = 1.05 * max(float(np.abs(before).max()), float(np.abs(after).max()), 2.0)
    for axes, points in zip(figure.axes, (before, after), strict=True):
        _scatter_classes(axes, points, labels, len(classes), forgotten, theme)
        for radius in (1, 2):
            axes.add_patch(
                Circle((0, 0), radius, fill=False, edgecolor=theme.ink, linestyle="--", linewidth=0.8)
            )
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        dress(axes, theme, x="z1")
    figure.axes[0].set_ylabel("z2")
    return figure


def centroid_moves(
    before: Floats,
    after: Floats,
    *,
    title: str,
    classes: Sequence[str],
    explained: Floats,
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Class centroids (K, 2) in a joint plane: hollow before, filled after, an arrow between.

    Parameters
    ----------
    explained : (2,) share of variance on each axis, [0, 1].
    """
    figure = new_figure(WIDTH * 0.75, 4.6, title, theme)
    axes = figure.add_subplot()
    for c, name in enumerate(classes):
        strong = c in forgotten
        ink = theme.accent if strong else theme.ink
        colour, marker = class_look(c)
        axes.annotate(
            "",
            after[c],
            before[c],
            arrowprops={"arrowstyle": "->", "color": ink, "lw": 1.6 if strong else 0.7},
        )
        axes.scatter(before[c, 0], before[c, 1], s=55, facecolors=theme.paper, edgecolors=colour, marker=marker,
                     linewidths=1.4, zorder=3)  # fmt: skip
        axes.scatter(after[c, 0], after[c, 1], s=55, c=colour, edgecolors=theme.ink, marker=marker, linewidths=0.5,
                     zorder=4)  # fmt: skip
        axes.annotate(
            name, after[c], (6, 6), textcoords="offset points", fontsize=TEXT + (2 if strong else 0), color=ink,
            fontweight="bold" if strong else "normal", zorder=5,
        )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    dress(axes, theme, x=f"first joint principal axis ({explained[0]:.0%})", y=f"second ({explained[1]:.0%})")
    return figure


def distance_matrices(
    before: Floats,
    after: Floats,
    ratio: Floats,
    *,
    title: str,
    classes: Sequence[str],
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Distances (K, K) between class centroids before and after on one scale, and their ratio."""
    k = len(classes)
    numbered = k <= NUMBERED
    side = CELL * 0.8 * k if numbered else max(CELL * 0.8 * NUMBERED, 0.16 * k)
    names = fitted(classes, side / k)
    beside = text_width(max(map(len, classes)))
    figure = new_figure(
        3 * side + beside + (0.9 if numbered else 2.7), side + names.height + 0.9, title, theme
    )
    high = float(max(before.max(), after.max()))
    for axes, values, name, top in zip(
        figure.subplots(1, 3, sharey=True),
        (before, after, ratio),
        ("before", "after", "after / before"),
        (high, high, max(2.0, float(np.nanmax(ratio)))),
        strict=True,
    ):
        image = annotated(axes, values, theme, low=0.0, high=top, spell="{:.1f}" if numbered else None)
        if not numbered:
            colour_bar(figure, image, axes, "", theme)
        heading(axes, name, theme)
        axes.set_aspect("equal")
        name_columns(axes, names, theme, marked=forgotten)
        axes.set_yticks(range(k), classes)
        mark(axes.get_yticklabels(), forgotten, theme)
    return figure


def manifold_pair(
    before: Floats,
    after: Floats,
    *,
    title: str,
    axes_names: tuple[str, str] = ("z1", "z2"),
    theme: Theme = LIGHT,
) -> Figure:
    """Images (side, side, C, H, W) that two models decode from one grid of latents, drawn without gaps."""
    figure = new_figure(WIDTH, WIDTH / 2 + 0.7, title, theme)
    for axes, images, name in zip(figure.subplots(1, 2), (before, after), ("before", "after"), strict=True):
        draw_canvas(axes, mosaic(images, gap=0), theme)
        heading(axes, name, theme)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(f"{axes_names[0]} \N{RIGHTWARDS ARROW}", fontsize=SMALL + 1)
    figure.axes[0].set_ylabel(f"{axes_names[1]} \N{RIGHTWARDS ARROW}", fontsize=SMALL + 1)
    return figure
