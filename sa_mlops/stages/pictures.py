"""A folder of images that the forgotten classes are to become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_mlops.datasets import pictures
from sa_mlops.parameters import ParameterError
from sa_mlops.stages.progress import say


def read(
    folder: Path | None, shape: tuple[int, int, int], device: torch.device
) -> tuple[Tensor | None, str | None]:
    """Images (n, C, H, W) in [0, 1] of a folder, and their md5; (None, None) without one.

    Images of any size and colour are converted to `shape`, (C, H, W). Other files are left out, with a note.

    Raises ParameterError if the folder holds no image, or one that cannot be read.
    """
    if folder is None:
        return None, None
    try:
        paths, left_out = pictures.listed(folder)
        levels = [pictures.read(path, shape) for path in paths]
    except OSError as error:
        raise ParameterError(
            "surrogate", str(folder), f"a folder that can be read ({error.strerror})"
        ) from None
    except pictures.PictureError as error:
        raise ParameterError("surrogate", str(folder), f"a folder of images; {error}") from None
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        say(f"{folder}: left out {left_out[0]}{more}")
    if not levels:
        raise ParameterError(
            "surrogate", str(folder), f"a folder with images ({', '.join(pictures.SUFFIXES)})"
        )
    stacked = np.stack(levels).astype(np.float32) / 255
    md5 = hashlib.md5(stacked.tobytes(), usedforsecurity=False).hexdigest()
    return torch.from_numpy(stacked).to(device), md5
