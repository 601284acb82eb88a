"""Grids of images, grey or colour: samples, before and after, one block of rows per step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sa_mlops.plots.style import (
    LIGHT,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    Labels,
    Theme,
    bare,
    fitted,
    name_columns,
    new_figure,
    text_width,
)

CELL, SMALLEST = 0.66, 0.42
"""Largest and smallest width of an image in inches."""
LINE = 0.13
"""Height in inches of a line of text under an image."""


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


def gap_of(width: int) -> int:
    """Pixels between images of this width."""
    return max(1, width // 14)


def mosaic(images: Floats, caption: int = 0, gap: int | None = None) -> Floats:
    """Images (rows, columns, C, H, W) in [0, 1] side by side, with NaN between them.

    Parameters
    ----------
    caption : pixels left free under each row.
    gap : pixels between images; None derives it from their width.

    Returns
    -------
    (height, width) for one channel, else (height, width, C).
    """
    rows, columns, channels, height, width = images.shape
    between = gap_of(width) if gap is None else gap
    below, beside = height + between + caption, width + between
    cells = np.full((rows, columns, channels, below, beside), np.nan, dtype=np.float32)
    cells[..., :height, :width] = images
    canvas = cells.transpose(0, 3, 1, 4, 2).reshape(rows * below, columns * beside, channels)
    canvas = canvas[: rows * below - between, : columns * beside - between]
    return canvas[..., 0] if channels == 1 else canvas


def pixels(canvas: Floats) -> NDArray[np.uint8]:
    """A canvas in [0, 1] as bytes, with white for NaN."""
    bright: NDArray[np.uint8] = np.round(255 * np.nan_to_num(np.clip(canvas, 0, 1), nan=1.0)).astype(np.uint8)
    return bright


def draw_canvas(axes: Axes, canvas: Floats, theme: Theme = LIGHT) -> None:
    """Draw a grey or colour canvas in [0, 1]; NaN shows the background."""
    if canvas.ndim == 3:
        canvas = np.where(np.isnan(canvas), to_rgb(theme.paper), np.clip(canvas, 0, 1))
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes, theme)


def show(
    axes: Axes,
    images: Floats,
    *,
    room: float,
    columns: Sequence[str] = (),
    marked: Collection[int] = (),
    rows: Sequence[str] = (),
    answers: Answers | None = None,
    classes: Sequence[str] = (),
    target: int | None = None,
) -> None:
    """Draw a grid of images with headings.

    Parameters
    ----------
    room : width of a column in inches.
    columns, rows : headings; `marked` are the columns to point out.
    answers : written under each image by the names in `classes`, with the class `target` pointed out.
    """
    height, width = images.shape[3:]
    lines = 0 if answers is None else answer_lines(classes, room)
    caption = round(lines * LINE / room * width)
    gap = gap_of(width)
    canvas = mosaic(images, caption)
    draw_canvas(axes, canvas)
    middle = width / 2 - 0.5
    axes.tick_params(labeltop=True, labelbottom=False, pad=2)
    places = [c * (width + gap) + middle for c in range(len(columns))]
    name_columns(axes, fitted(columns, room), places=places, marked=marked)
    axes.set_yticks([r * (height + gap + caption) + height / 2 - 0.5 for r in range(len(rows))], rows)
    if answers is None:
        return
    letters = max(3, int(room / text_width(1, SMALL)))
    for (r, c), predicted in np.ndenumerate(answers.predicted):
        hit = predicted == target
        name, share = classes[int(predicted)], f"{100 * float(answers.confidence[r, c]):.0f}%"
        axes.text(
            c * (width + gap) + middle,
            r * (height + gap + caption) + height + (caption - 1) / 2,
            f"{name} {share}" if lines == 1 else f"{_shortened(name, letters)}\n{share}",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=LIGHT.accent if hit else LIGHT.ink,
            fontweight="bold" if hit else "normal",
        )


def answer_lines(classes: Sequence[str], room: float) -> int:
    """Lines under an image `room` inches wide for a class and its probability."""
    return 1 if text_width(max(map(len, classes)) + len(" 100%"), SMALL) <= room else 2


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def struck(name: str) -> str:
    """A name with a stroke through each of its letters."""
    return "".join(c if c.isspace() else f"{c}\N{COMBINING LONG STROKE OVERLAY}" for c in name)


def headings(classes: Sequence[str], forgotten: Collection[int] = ()) -> list[str]:
    """Names of the classes, those of the forgotten ones struck out."""
    return [struck(name) if c in forgotten else name for c, name in enumerate(classes)]


def sample_grid(
    images: Floats, *, title: str, classes: Sequence[str], forgotten: Collection[int] = ()
) -> Figure:
    """Samples (rows, K, C, H, W) in [0, 1]: a column per class, a row per latent."""
    return _stacked([(images, "", forgotten)], title, classes)


def before_after(
    before: Floats, after: Floats, *, title: str, classes: Sequence[str], forgotten: Collection[int] = ()
) -> Figure:
    """Samples (rows, K, C, H, W) of two models at equal latents, one above the other."""
    return _stacked([(before, "before", forgotten), (after, "after", forgotten)], title, classes)


def sequential_columns(
    blocks: Floats,
    *,
    title: str,
    classes: Sequence[str],
    steps: Sequence[str],
    forgotten: Sequence[Collection[int]],
) -> Figure:
    """A block of rows per step: blocks (steps, rows, K, C, H, W) at equal latents.

    Parameters
    ----------
    steps : name of each block.
    forgotten : the classes forgotten by then, for each block; they are struck out in its headings.
    """
    return _stacked(list(zip(blocks, steps, forgotten, strict=True)), title, classes)


def _stacked(
    blocks: Sequence[tuple[Floats, str, Collection[int]]], title: str, classes: Sequence[str]
) -> Figure:
    """Blocks of images (rows, K, C, H, W), each with its name and forgotten classes, above each other."""
    n_rows, columns, _, height, width = blocks[0][0].shape
    room = min(CELL, max(SMALLEST, CELL * 10 / columns))
    block = fitted(classes, room).height + n_rows * room * height / width
    figure = new_figure(max(WIDTH, room * columns + 0.4), 0.6 + len(blocks) * block, title)
    panels = figure.subplots(len(blocks), 1, squeeze=False)[:, 0]
    for axes, (images, name, forgotten) in zip(panels, blocks, strict=True):
        show(axes, images, room=room, columns=headings(classes, forgotten), marked=forgotten)
        axes.set_ylabel(name, fontsize=TEXT, fontweight="bold")
    return figure
