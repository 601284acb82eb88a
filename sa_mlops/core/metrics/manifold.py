"""Improved precision and recall: the share of one set on the other's k-nearest-neighbour manifold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Improved precision and recall, with the value of each sample.

    Attributes
    ----------
    realistic : (n_generated,) bool, generated samples on the real manifold; their share is the precision.
    covered : (n_real,) bool, real samples on the generated manifold; their share is the recall.
    """

    realistic: Tensor
    covered: Tensor

    @property
    def precision(self) -> float:
        """Share of generated samples that look real, [0, 1]."""
        return float(self.realistic.double().mean())

    @property
    def recall(self) -> float:
        """Share of real samples that the generator could have made, [0, 1]."""
        return float(self.covered.double().mean())


def precision_recall(
    real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS, chunk: int = 1024
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al., 2019, arXiv:1904.06991).

    A point is on a set's manifold if it is no further from some member than that member's k-th nearest
    neighbour in the set (itself not counted). Both sets should have the same size: recall grows with the
    number of generated samples.

    Raises ValueError if a set has no more than `neighbours` rows.

    Parameters
    ----------
    real : (n, d) features.
    generated : (m, d) features of the same net.
    neighbours : k, 1 or more.
    chunk : rows of one block of the distance matrix.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} samples in either set")
    real_radii = _radii(real, neighbours, chunk)
    generated_radii = _radii(generated, neighbours, chunk)
    realistic = torch.zeros(len(generated), dtype=torch.bool, device=generated.device)
    covered = []
    for rows, radii in zip(torch.split(real, chunk), torch.split(real_radii, chunk), strict=True):
        distances = _distances(rows, generated)
        covered.append((distances <= generated_radii).any(dim=1))
        realistic |= (distances <= radii[:, None]).any(dim=0)
    return PrecisionRecall(realistic, torch.cat(covered))


def _radii(points: Tensor, neighbours: int, chunk: int) -> Tensor:
    """Distance of each point to its k-th nearest other point, (n,)."""
    # The nearest row of all is the point itself, at distance exactly 0.
    rank = neighbours + 1
    chunks = torch.split(points, chunk)
    return torch.cat([_distances(rows, points).topk(rank, largest=False).values[:, -1] for rows in chunks])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # The matrix-product form is not symmetric to the last bit and gives a point a distance to itself.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
