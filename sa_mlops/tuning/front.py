"""The Pareto front of trials, its knee and its hypervolume. Every objective is a loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
CLASS_DROP = 0.02
"""The constraint: no retained class loses more accuracy than this against the base."""
ROUNDING = 1e-9
"""Tolerance of differences between accuracies, which are multiples of 1 / samples."""


def on_front(losses: Losses, feasible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The trials that are feasible and not dominated by another feasible one.

    One trial dominates another if it is no worse in every loss and better in at least one; equal trials do not
    dominate each other.

    Parameters
    ----------
    losses : (trials, objectives).
    feasible : (trials,).

    Returns
    -------
    (trials,) bool.
    """
    no_worse = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)
    better = (losses[:, None, :] < losses[None, :, :]).any(axis=2)
    dominated = (no_worse & better & feasible[:, None]).any(axis=0)
    front: NDArray[np.bool_] = feasible & ~dominated
    return front


def knee(losses: Losses) -> int:
    """Row of the knee of a front: beyond it, a large increase of one loss buys a small decrease of another.

    Losses are scaled to [0, 1] over the front; the knee lies farthest below the plane through the points that are
    best in one loss each (for two losses: the chord between the ends), which after scaling is where the sum of losses
    is least (Das, 1999; with the scaling, Branke et al., 2004). Of equals the first.

    Raises ValueError without a point.
    """
    if not len(losses):
        raise ValueError("an empty front has no knee")
    low, high = losses.min(axis=0), losses.max(axis=0)
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    return int(scaled.sum(axis=1).argmin())


def hypervolume(losses: Losses, reference: tuple[float, float]) -> float:
    """Area that two losses (trials, 2) dominate below a reference point; points outside add nothing."""
    area, ceiling = 0.0, reference[1]
    for first, second in losses[np.lexsort((losses[:, 1], losses[:, 0]))]:
        if first < reference[0] and second < ceiling:
            area += (reference[0] - first) * (ceiling - second)
            ceiling = second
    return float(area)
