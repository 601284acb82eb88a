"""Grids of images: samples, before and after, one block of rows a step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sa_mlops.plots.style import LIGHT, SMALL, TEXT, WIDTH, Floats, Labels, Theme, bare, new_figure

PIXEL = 28
GAP = 2


@dataclass(frozen=True, slots=True)
class Answers:
    """A judge's first choice and its probability for each image of a grid.

    Attributes
    ----------
    predicted : (rows, columns) int, class.
    confidence : (rows, columns), [0, 1].
    """

    predicted: Labels
    confidence: Floats


def mosaic(images: Floats, caption: int = 0) -> Floats:
    """Images (rows, columns, 28, 28) in [0, 1] side by side, with NaN between; `caption` adds pixels under each row."""
    rows, columns = images.shape[:2]
    height, width = PIXEL + GAP + caption, PIXEL + GAP
    canvas = np.full((rows * height - GAP, columns * width - GAP), np.nan, dtype=np.float32)
    for r in range(rows):
        for c in range(columns):
            canvas[r * height : r * height + PIXEL, c * width : c * width + PIXEL] = images[r, c]
    return canvas


def show(
    axes: Axes,
    images: Floats,
    theme: Theme,
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    answers: Answers | None = None,
    target: int | None = None,
) -> None:
    """Draw a grid of images with headings; answers stand under each image, those of `target` in the accent colour."""
    caption = 10 if answers is not None else 0
    canvas = mosaic(images, caption)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes, theme)
    middle = PIXEL / 2 - 0.5
    axes.set_xticks([c * (PIXEL + GAP) + middle for c in range(len(columns))], columns)
    axes.set_yticks([r * (PIXEL + GAP + caption) + middle for r in range(len(rows))], rows)
    axes.tick_params(labeltop=True, labelbottom=False, pad=2)
    if answers is None:
        return
    # The canvas ends with the last image: its caption needs room too.
    axes.set_ylim(canvas.shape[0] - 0.5 + caption - GAP, -0.5)
    for (r, c), digit in np.ndenumerate(answers.predicted):
        hit = target is not None and digit == target
        axes.text(
            c * (PIXEL + GAP) + middle,
            r * (PIXEL + GAP + caption) + PIXEL + caption / 2,
            f"{digit} {_percent(float(answers.confidence[r, c]))}",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=theme.accent if hit else theme.ink,
            fontweight="bold" if hit else "normal",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def class_headings(forgotten: Collection[int] = ()) -> list[str]:
    """Headings of ten columns; a forgotten digit is struck out."""
    return [f"{c}\N{COMBINING LONG STROKE OVERLAY}" if c in forgotten else str(c) for c in range(10)]


def sample_grid(
    images: Floats,
    *,
    title: str,
    forgotten: Collection[int] = (),
    rows: Sequence[str] = (),
    answers: Answers | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Samples (rows, 10, 28, 28) in [0, 1], one column a class, one row a latent."""
    n_rows = images.shape[0]
    figure = new_figure(WIDTH, 0.75 + n_rows * (0.85 if answers else 0.66), title, theme)
    axes = figure.add_subplot()
    show(axes, images, theme, columns=class_headings(forgotten), rows=rows, answers=answers)
    _mark_columns(axes, forgotten, theme)
    return figure


def before_after(
    before: Floats,
    after: Floats,
    *,
    title: str,
    forgotten: Collection[int] = (),
    answers_before: Answers | None = None,
    answers_after: Answers | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Samples (rows, 10, 28, 28) of two models at equal latents, one above the other."""
    rows = before.shape[0]
    captioned = answers_before is not None or answers_after is not None
    figure = new_figure(WIDTH, 0.9 + 2 * rows * (0.85 if captioned else 0.66), title, theme)
    top, bottom = figure.subplots(2, 1)
    for axes, images, name, answers in (
        (top, before, "before", answers_before),
        (bottom, after, "after", answers_after),
    ):
        show(axes, images, theme, columns=class_headings(forgotten), answers=answers)
        axes.set_ylabel(name, fontsize=TEXT + 1, fontweight="bold")
        _mark_columns(axes, forgotten, theme)
    return figure


def sequential_columns(
    blocks: Floats,
    *,
    title: str,
    steps: Sequence[str],
    forgotten: Sequence[Collection[int]],
    theme: Theme = LIGHT,
) -> Figure:
    """One block of rows a step: blocks (steps, rows, 10, 28, 28) at equal latents.

    Parameters
    ----------
    steps : name of each block.
    forgotten : for each block, the classes forgotten by then; each is struck out in the block's headings.
    """
    n_steps, rows = blocks.shape[:2]
    figure = new_figure(WIDTH, 0.5 + n_steps * (0.25 + rows * 0.62), title, theme)
    panels = figure.subplots(n_steps, 1, squeeze=False)[:, 0]
    for axes, images, name, gone in zip(panels, blocks, steps, forgotten, strict=True):
        show(axes, images, theme, columns=class_headings(gone))
        axes.set_ylabel(name, fontsize=TEXT)
        _mark_columns(axes, gone, theme)
    return figure


def _mark_columns(axes: Axes, forgotten: Collection[int], theme: Theme) -> None:
    for c, label in enumerate(axes.get_xticklabels()):
        if c in forgotten:
            label.set(color=theme.accent, fontweight="bold")
