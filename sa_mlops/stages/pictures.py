"""A folder of images that the forgotten classes are to become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_mlops.parameters import ParameterError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read(
    folder: Path | None, shape: tuple[int, int, int], device: torch.device
) -> tuple[Tensor | None, str | None]:
    """Images (n, C, H, W) in [0, 1] of a folder, and their md5; (None, None) without one.

    Images of any size and colour are converted to `shape`, (C, H, W).

    Raises ParameterError if the folder holds no image, or one that cannot be read.
    """
    if folder is None:
        return None, None
    from PIL import Image, UnidentifiedImageError

    channels, height, width = shape
    arrays = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                coloured = picture.convert("L" if channels == 1 else "RGB")
                scaled = coloured.resize((width, height), Image.Resampling.BILINEAR)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            allowed = f"a folder of images; {path.name} cannot be read"
            raise ParameterError("surrogate", str(folder), allowed) from None
        pixels = np.asarray(scaled, dtype=np.float32).reshape(height, width, channels) / 255
        arrays.append(pixels.transpose(2, 0, 1))
    if not arrays:
        raise ParameterError("surrogate", str(folder), f"a folder with images ({', '.join(SUFFIXES)})")
    stacked = np.stack(arrays)
    md5 = hashlib.md5(stacked.tobytes(), usedforsecurity=False).hexdigest()
    return torch.from_numpy(stacked).to(device), md5
