"""Sample grids over training steps as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from sa_mlops.plots.grids import GAP, PIXEL, mosaic
from sa_mlops.plots.style import LIGHT, Floats, Theme


def tiles(canvas: NDArray[np.uint8], scale: int) -> Floats:
    """The images (rows, columns, 28, 28) in [0, 1] of a `mosaic` that was saved in greys, `scale` times enlarged.

    Raises
    ------
    ValueError : if the canvas has not the size of a mosaic.
    """
    step = PIXEL + GAP
    size = [length // scale + GAP for length in canvas.shape]
    if len(size) != 2 or any(length % step for length in size):
        raise ValueError(f"a canvas {canvas.shape} is no grid of images")
    height, width = size
    padded = np.zeros((height, width), dtype=np.float32)
    padded[: height - GAP, : width - GAP] = canvas[::scale, ::scale].astype(np.float32) / 255
    cells = padded.reshape(height // step, step, width // step, step).transpose(0, 2, 1, 3)
    return cells[..., :PIXEL, :PIXEL]


def animated_grid(
    frames: Sequence[Floats],
    captions: Sequence[str],
    *,
    forgotten: Collection[int] = (),
    milliseconds: int = 120,
    hold: int = 1500,
    scale: int = 2,
    greys: int = 32,
    theme: Theme = LIGHT,
) -> bytes:
    """GIF that repeats for ever; equal arguments give equal bytes.

    Parameters
    ----------
    frames : grids (rows, columns, 28, 28) in [0, 1], all of one shape; column c shows class c.
    captions : text above each frame: step, loss.
    forgotten : columns whose heading is struck out.
    milliseconds, hold : how long a frame and the last frame stay.
    scale : screen pixels per image pixel.
    greys : shades of the images, 2 to 256; 32 nearly halve the file.

    Raises
    ------
    ValueError : without frames, or if frames and captions differ in number.
    """
    if not frames or len(frames) != len(captions):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions")
    pictures = [_picture(f, c, forgotten, scale, greys, theme) for f, c in zip(frames, captions, strict=True)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(pictures) - 1) + [hold],
    )  # fmt: skip
    return buffer.getvalue()


def _picture(
    grid: Floats, caption: str, forgotten: Collection[int], scale: int, greys: int, theme: Theme
) -> Image.Image:
    paper, ink = (ImageColor.getcolor(colour, "L") for colour in (theme.paper, theme.ink))
    margin, size = 4 * scale, 7 * scale
    head = 2 * (size + margin)
    enlarged = np.kron(mosaic(grid), np.ones((scale, scale), dtype=np.float32))
    shades = np.round(np.clip(enlarged, 0, 1) * (greys - 1)) / (greys - 1)
    pixels = np.where(np.isnan(enlarged), paper, np.round(255 * shades))
    picture = Image.new("L", (enlarged.shape[1] + 2 * margin, enlarged.shape[0] + head + margin), paper)
    picture.paste(Image.fromarray(pixels.astype(np.uint8)), (margin, head))
    pen = ImageDraw.Draw(picture)
    # Matplotlib brings this font along, so that letters are the same on every machine.
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
    pen.text((margin, margin), caption, fill=ink, font=font, anchor="lt")
    for column in range(grid.shape[1]):
        x = margin + scale * (column * (PIXEL + GAP) + PIXEL / 2)
        y = head - margin / 2 - size / 2
        pen.text((x, y), str(column), fill=ink, font=font, anchor="mm")
        if column in forgotten:
            pen.line([(x - size / 2, y), (x + size / 2, y)], fill=ink, width=scale)
    return picture
