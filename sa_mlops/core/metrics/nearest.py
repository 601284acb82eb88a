"""Distance of generated images to the nearest real one: whether a generator repeats training images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def nearest_real(generated: Tensor, real: Iterable[Tensor], chunk: int = 512) -> Tensor:
    """Euclidean distance over pixels of each generated image (n, C, H, W) to the nearest real one: (n,).

    Raises ValueError if either set is empty.

    Parameters
    ----------
    real : parts (m, C, H, W) of the real images, of which one is in memory at a time.
    """
    generated = generated.flatten(1)
    smallest = torch.full((len(generated),), torch.inf, device=generated.device)
    for part in real:
        images = part.flatten(1)
        for few, so_far in zip(generated.split(chunk), smallest.split(chunk), strict=True):
            nearest = torch.cdist(few, images).argmin(dim=1)
            # cdist uses a matrix product, which loses precision at small distances; the smallest is computed directly.
            torch.minimum(so_far, (few - images[nearest]).norm(dim=1), out=so_far)
    if not len(generated) or smallest.isinf().any():
        raise ValueError("both sets need at least one image")
    return smallest
