"""Pictures of the latent space before and after forgetting."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from sa_mlops.plots.matrices import annotated
from sa_mlops.plots.style import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    LIGHT,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    Labels,
    Theme,
    bare,
    dress,
    heading,
    new_figure,
)


def _scatter_classes(
    axes: Axes, points: Floats, labels: Labels, forgotten: Collection[int], theme: Theme
) -> list[PathCollection]:
    """Points (n, 2) in the colours and markers of their classes, the forgotten ones on top and ringed."""
    drawn = []
    for c in sorted(range(10), key=lambda c: c in forgotten):
        x, y = points[labels == c].T
        gone = c in forgotten
        drawn.append(
            axes.scatter(
                x, y, s=9 if gone else 6, c=CLASS_COLOURS[c], marker=CLASS_MARKERS[c], alpha=0.9 if gone else 0.6,
                linewidths=0.4 if gone else 0, edgecolors=theme.ink, rasterized=True,
            )
        )  # fmt: skip
    return drawn


def _class_key(figure: Figure, forgotten: Collection[int], theme: Theme) -> None:
    """One line of markers under the figure; struck digits are forgotten."""
    handles = [
        Line2D([], [], linestyle="", marker=CLASS_MARKERS[c], color=CLASS_COLOURS[c], markersize=6)
        for c in range(10)
    ]
    names = [f"{c} forgotten" if c in forgotten else str(c) for c in range(10)]
    figure.legend(
        handles, names, loc="outside lower center", ncols=10, frameon=False, fontsize=TEXT, labelcolor=theme.ink,
        columnspacing=0.9, handletextpad=0.1,
    )  # fmt: skip


def embedding_pair(
    before: Floats,
    after: Floats,
    labels: Labels,
    *,
    title: str,
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """t-SNE maps (n, 2) of the same images under two models; distances on a map have no unit, so no axes are drawn."""
    figure = new_figure(WIDTH, 4.2, title, theme)
    # One scale and one centre, so that a cluster that stays is seen to stay.
    limit = 1.03 * max(float(np.abs(before).max()), float(np.abs(after).max()))
    for axes, points, name in zip(figure.subplots(1, 2), (before, after), ("before", "after"), strict=True):
        _scatter_classes(axes, points, labels, forgotten, theme)
        heading(axes, name, theme)
        bare(axes, theme)
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
    _class_key(figure, forgotten, theme)
    return figure


def latent_pair(
    before: Floats,
    after: Floats,
    labels: Labels,
    *,
    title: str,
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Posterior means (n, 2) of two models with z_dim = 2 on the same axes; circles hold 39 % and 86 % of the prior."""
    figure = new_figure(WIDTH, 4.2, title, theme)
    limit = 1.05 * max(float(np.abs(before).max()), float(np.abs(after).max()), 2.0)
    for axes, points, name in zip(
        figure.subplots(1, 2, sharey=True), (before, after), ("before", "after"), strict=True
    ):
        _scatter_classes(axes, points, labels, forgotten, theme)
        for radius in (1, 2):
            axes.add_patch(
                Circle((0, 0), radius, fill=False, edgecolor=theme.ink, linestyle="--", linewidth=0.8)
            )
        heading(axes, name, theme)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="z1")
        dress(axes, theme)
    figure.axes[0].set_ylabel("z2")
    _class_key(figure, forgotten, theme)
    return figure


def centroid_moves(
    before: Floats, after: Floats, *, title: str, explained: Floats, forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:  # fmt: skip
    """Class centroids (10, 2) in a joint plane: hollow before, filled after, an arrow between.

    Parameters
    ----------
    explained : (2,) share of variance on each axis, [0, 1].
    """
    figure = new_figure(WIDTH * 0.75, 4.6, title, theme)
    axes = figure.add_subplot()
    for c in range(10):
        gone = c in forgotten
        colour, marker = CLASS_COLOURS[c], CLASS_MARKERS[c]
        axes.annotate(
            "", after[c], before[c],
            arrowprops={"arrowstyle": "->", "color": theme.accent if gone else theme.ink, "lw": 1.6 if gone else 0.7},
        )  # fmt: skip
        axes.scatter(
            before[c, 0],
            before[c, 1],
            s=55,
            facecolors=theme.paper,
            edgecolors=colour,
            marker=marker,
            linewidths=1.4,
            zorder=3,
        )
        axes.scatter(
            after[c, 0],
            after[c, 1],
            s=55,
            c=colour,
            edgecolors=theme.ink,
            marker=marker,
            linewidths=0.5,
            zorder=4,
        )
        axes.annotate(
            str(c), after[c], (6, 6), textcoords="offset points", fontsize=TEXT + (2 if gone else 0),
            color=theme.accent if gone else theme.ink, fontweight="bold" if gone else "normal", zorder=5,
        )  # fmt: skip
    axes.set_xlabel(f"first joint principal axis ({explained[0]:.0%})")
    axes.set_ylabel(f"second ({explained[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")
    dress(axes, theme)
    return figure


def distance_matrices(
    before: Floats,
    after: Floats,
    ratio: Floats,
    *,
    title: str,
    forgotten: Collection[int] = (),
    theme: Theme = LIGHT,
) -> Figure:
    """Distances (10, 10) between class centroids before and after on one scale, and their ratio."""
    figure = new_figure(WIDTH * 1.5, 4.1, title, theme)
    high = float(max(before.max(), after.max()))
    for axes, values, name, top in zip(
        figure.subplots(1, 3),
        (before, after, ratio),
        ("before", "after", "after / before"),
        (high, high, max(2.0, float(np.nanmax(ratio)))),
        strict=True,
    ):
        annotated(axes, values, theme, low=0.0, high=top, spell="{:.1f}")
        heading(axes, name, theme)
        axes.set(xticks=range(10), yticks=range(10), aspect="equal")
        for c, (below, beside) in enumerate(zip(axes.get_xticklabels(), axes.get_yticklabels(), strict=True)):
            if c in forgotten:
                below.set(color=theme.accent, fontweight="bold")
                beside.set(color=theme.accent, fontweight="bold")
    return figure


def manifold_pair(
    before: Floats,
    after: Floats,
    *,
    title: str,
    axes_names: tuple[str, str] = ("z1", "z2"),
    theme: Theme = LIGHT,
) -> Figure:
    """Images (side, side, 28, 28) that two models decode from one grid of latents, drawn without gaps."""
    figure = new_figure(WIDTH, WIDTH / 2 + 0.7, title, theme)
    for axes, images, name in zip(figure.subplots(1, 2), (before, after), ("before", "after"), strict=True):
        axes.imshow(images.transpose(0, 2, 1, 3).reshape(len(images) * 28, -1), cmap="gray", vmin=0, vmax=1)
        bare(axes, theme)
        heading(axes, name, theme)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(f"{axes_names[0]} \N{RIGHTWARDS ARROW}", fontsize=SMALL + 1)
    figure.axes[0].set_ylabel(f"{axes_names[1]} \N{RIGHTWARDS ARROW}", fontsize=SMALL + 1)
    return figure
