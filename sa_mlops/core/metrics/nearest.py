"""Distance of generated images to the nearest real one: whether a generator repeats training images."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_real(generated: Tensor, real: Tensor, chunk: int = 512) -> Tensor:
    """Euclidean distance over pixels of each generated image (n, C, H, W) to the nearest real one (m, C, H, W): (n,).

    Raises
    ------
    ValueError : if either set is empty.
    """
    if not len(generated) or not len(real):
        raise ValueError("both sets need at least one image")
    generated, real = generated.flatten(1), real.flatten(1)
    distances = []
    for rows in torch.split(generated, chunk):
        nearest = torch.cdist(rows, real).argmin(dim=1)
        # cdist uses a matrix product, which loses precision at small distances; the smallest is computed directly.
        distances.append((rows - real[nearest]).norm(dim=1))
    return torch.cat(distances)
