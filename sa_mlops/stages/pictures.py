"""A folder of images from which a method takes the new appearance of the forgotten classes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_mlops.parameters import ParameterError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read(folder: Path | None, device: torch.device) -> tuple[Tensor | None, str | None]:
    """Images (n, 1, 28, 28) in [0, 1] of the folder that `--surrogate` names, and their md5; (None, None) without one.

    Pictures of any size and colour are read as grey and scaled to 28x28.

    Raises
    ------
    ParameterError : if the folder holds no picture, or one that cannot be read.
    """
    if folder is None:
        return None, None
    from PIL import Image, UnidentifiedImageError

    arrays = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                small = picture.convert("L").resize((28, 28), Image.Resampling.BILINEAR)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            allowed = f"a folder of images; {path.name} cannot be read"
            raise ParameterError("surrogate", str(folder), allowed) from None
        arrays.append(np.asarray(small, dtype=np.float32)[None] / 255)
    if not arrays:
        raise ParameterError(
            "surrogate", str(folder), f"a folder with pictures in it ({', '.join(SUFFIXES)})"
        )
    stacked = np.stack(arrays)
    md5 = hashlib.md5(stacked.tobytes(), usedforsecurity=False).hexdigest()
    return torch.from_numpy(stacked).to(device), md5
