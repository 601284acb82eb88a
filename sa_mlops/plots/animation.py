"""Sample grids over training steps as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from sa_mlops.plots.grids import gap_of, mosaic
from sa_mlops.plots.style import LIGHT, Floats, Theme

HOLD = 1500
"""Milliseconds that the last frame stays."""
SCALE = 2
"""Screen pixels per image pixel."""
SHADES = 32
"""Levels of each channel; 256 nearly double the file."""


def tiles(canvas: NDArray[np.uint8], scale: int, shape: tuple[int, int, int]) -> Floats:
    """The images (rows, columns, C, H, W) in [0, 1] of a `mosaic` that was saved `scale` times enlarged.

    Raises ValueError if the canvas does not have the size of a mosaic.

    Parameters
    ----------
    canvas : (height, width) for one channel, else (height, width, C).
    shape : (C, H, W) of an image.
    """
    channels, height, width = shape
    gap = gap_of(width)
    small = (
        canvas[::scale, ::scale] if canvas.ndim == 2 + (channels > 1) else np.empty((0, 0), dtype=np.uint8)
    )
    rows, no_row = divmod(small.shape[0] + gap, height + gap)
    columns, no_column = divmod(small.shape[1] + gap, width + gap)
    if no_row or no_column:
        raise ValueError(f"a canvas {canvas.shape} is not a grid of images {shape}")
    bright = small.reshape(*small.shape[:2], channels).astype(np.float32) / 255
    padded = np.pad(bright, ((0, gap), (0, gap), (0, 0)))
    cells = padded.reshape(rows, height + gap, columns, width + gap, channels)
    return cells.transpose(0, 2, 4, 1, 3)[..., :height, :width]


def animated_grid(
    frames: Sequence[Floats],
    captions: Sequence[str],
    *,
    classes: Sequence[str],
    forgotten: Collection[int] = (),
    milliseconds: int = 120,
    theme: Theme = LIGHT,
) -> bytes:
    """Endlessly repeating GIF; equal arguments give equal bytes.

    Raises ValueError without frames, or if frames and captions differ in number.

    Parameters
    ----------
    frames : grids (rows, K, C, H, W) in [0, 1], all of one shape; column c shows class c.
    captions : text above each frame: step, loss.
    classes : headings of the columns; those in `forgotten` are struck out.
    milliseconds : duration of a frame; the last one stays for `HOLD`.
    """
    if not frames or len(frames) != len(captions):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions")
    pictures = [_picture(f, c, classes, forgotten, theme) for f, c in zip(frames, captions, strict=True)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(pictures) - 1) + [HOLD],
    )  # fmt: skip
    return buffer.getvalue()


def _picture(
    grid: Floats,
    caption: str,
    classes: Sequence[str],
    forgotten: Collection[int],
    theme: Theme,
) -> Image.Image:
    columns, channels, _, width = grid.shape[1:]
    mode = "L" if channels == 1 else "RGB"
    paper, ink = (ImageColor.getcolor(colour, mode) for colour in (theme.paper, theme.ink))
    margin, size = 4 * SCALE, 7 * SCALE
    # Matplotlib includes this font, so that letters are the same on every machine.
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
    longest = max(round(font.getlength(name)) for name in classes)
    turned = longest > SCALE * width
    line = longest if turned else size
    head = size + line + 2 * margin
    enlarged = mosaic(grid).repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    rounded = np.round(np.clip(enlarged, 0, 1) * (SHADES - 1)) / (SHADES - 1)
    pixels = np.where(np.isnan(enlarged), paper, np.round(255 * rounded)).astype(np.uint8)
    picture = Image.new(mode, (pixels.shape[1] + 2 * margin, len(pixels) + head + margin), paper)
    picture.paste(Image.fromarray(pixels), (margin, head))
    ImageDraw.Draw(picture).text((margin, margin), caption, fill=ink, font=font, anchor="lt")
    for column, name in enumerate(classes[:columns]):
        label = Image.new(mode, (longest + 2, size), paper)
        pen = ImageDraw.Draw(label)
        middle = (0 if turned else label.width / 2, size / 2)
        pen.text(middle, name, fill=ink, font=font, anchor="lm" if turned else "mm")
        if column in forgotten:
            half = max(size, font.getlength(name)) / 2
            start = 0 if turned else middle[0] - half
            pen.line([(start, size / 2), (start + 2 * half, size / 2)], fill=ink, width=SCALE)
        if turned:
            label = label.rotate(90, expand=True)
        x = margin + SCALE * (column * (width + gap_of(width)) + width / 2)
        picture.paste(label, (round(x - label.width / 2), head - margin // 2 - label.height))
    return picture
