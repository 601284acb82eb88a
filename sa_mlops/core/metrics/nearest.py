"""Distance of generated images to the nearest real one: whether a generator repeats training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NearestReal:
    """Nearest real image of each generated one.

    Attributes
    ----------
    distances : (n,) Euclidean distance over pixels, 0 to the square root of their number.
    indices : (n,) int64, row of the nearest real image.
    """

    distances: Tensor
    indices: Tensor

    @property
    def mean(self) -> float:
        """Mean distance over the generated images."""
        return float(self.distances.double().mean())

    @property
    def minimum(self) -> float:
        """Distance of the closest pair."""
        return float(self.distances.min())


def nearest_real(generated: Tensor, real: Tensor, chunk: int = 512) -> NearestReal:
    """Find the nearest of the real images (m, C, H, W) for each generated image (n, C, H, W), over raw pixels.

    Raises
    ------
    ValueError : if either set is empty.
    """
    if not len(generated) or not len(real):
        raise ValueError("both sets need at least one image")
    generated, real = generated.flatten(1), real.flatten(1)
    indices, distances = [], []
    for rows in torch.split(generated, chunk):
        nearest = torch.cdist(rows, real).argmin(dim=1)
        indices.append(nearest)
        # cdist uses a matrix product, which loses precision at small distances; the smallest is computed directly.
        distances.append((rows - real[nearest]).norm(dim=1))
    return NearestReal(torch.cat(distances), torch.cat(indices))
