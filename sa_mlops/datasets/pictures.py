"""Picture files as arrays: one reader for data sets and surrogate folders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
ORIENTATION = 0x0112
"""EXIF tag; from 5 on the picture lies on its side."""
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
DEPTH_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes in which Pillow opens 16-bit grey."""


class PictureError(ValueError):
    """A file is no picture that can be read. The message is one line that begins with the file's name."""


@dataclass(frozen=True, slots=True)
class Look:
    """Width and height in pixels, upright, and channels (1 or 3) of a picture, from its header."""

    width: int
    height: int
    channels: int


def listed(folder: Path) -> tuple[list[Path], list[str]]:
    """Picture files of a folder by name, and for each entry left out a line that names it and says why.

    Hidden files are left out, of which `._x.png` is a resource fork of macOS.

    Raises OSError if the folder cannot be read.
    """
    found, left_out = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            left_out.append(f"{path.name}: a hidden file")
        elif path.is_dir():
            left_out.append(f"{path.name}: a folder")
        elif path.suffix.lower() not in SUFFIXES:
            left_out.append(f"{path.name}: not {', '.join(SUFFIXES)}")
        else:
            found.append(path)
    return found, left_out


def look(path: Path) -> Look:
    """The header of a picture. Raises PictureError."""
    with _opened(path) as picture:
        width, height = picture.size
        if picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        return Look(width, height, 1 if _is_grey(picture) else 3)


def read(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture as (C, H, W), stretched to this shape.

    It is turned as its EXIF orientation says; transparent pixels become grey; 16-bit levels are scaled to 8 bits.

    Raises PictureError if it cannot be read.
    """
    from PIL import ImageOps

    with _opened(path) as picture:
        return _stretched(_opaque(_shallow(ImageOps.exif_transpose(picture))), shape)


def converted(levels: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """An image (C, H, W) in another shape."""
    from PIL import Image

    return _stretched(Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)), shape)


def _stretched(picture: Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    channels, height, width = shape
    scaled = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Resampling.BILINEAR)
    levels: NDArray[np.uint8] = np.asarray(scaled).reshape(height, width, channels)
    return levels.transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """An open picture. Whatever Pillow raises for it becomes a PictureError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise PictureError(f"{path.name}: more than {most} pixels (a decompression bomb)") from None
    except UnidentifiedImageError:
        kind = "an empty file" if not path.stat().st_size else "no picture of a known format"
        raise PictureError(f"{path.name}: {kind}") from None
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise PictureError(f"{path.name}: {' '.join(reason.split()) or type(error).__name__}") from None


def _is_grey(picture: Image) -> bool:
    if picture.mode == "P":
        palette = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in GREY_MODES


def _shallow(picture: Image) -> Image:
    """The picture with 8 bits a channel."""
    from PIL import Image

    if picture.mode in DEPTH_16:
        levels = np.asarray(picture).astype(np.float64)
        return Image.fromarray(np.rint(levels.clip(0, 65_535) / 257).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which have no range")
    return picture


def _opaque(picture: Image) -> Image:
    """The picture over grey, where it is transparent."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    coloured = picture.convert("RGBA")
    ground = Image.new("RGBA", coloured.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, coloured)
