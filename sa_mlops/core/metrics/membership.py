"""Membership inference: whether a model's loss separates training images from unseen ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.metrics.intervals import RESAMPLES, Interval, percentile_interval


@dataclass(frozen=True, slots=True)
class Membership:
    """Success of a threshold attack on the loss.

    Attributes
    ----------
    auc : area under the ROC curve, [0, 1]; 0.5 is chance, 1 identifies every training image.
    interval : bootstrap interval of the area, both sets resampled.
    """

    auc: float
    interval: Interval


def membership_inference(
    train_losses: Tensor,
    held_out_losses: Tensor,
    generator: torch.Generator,
    resamples: int = RESAMPLES,
) -> Membership:
    """Threshold attack: a lower loss means a training image (Yeom et al., 2018, arXiv:1709.01604).

    Raises ValueError if either set is empty or a loss is NaN.

    Parameters
    ----------
    train_losses : (n,) loss of each training image, for example its negative ELBO in nats.
    held_out_losses : (m,) the same of images the model never saw.
    generator : decides the resamples; its device does the work.
    """
    n = len(train_losses)
    losses = torch.cat([train_losses.detach(), held_out_losses.detach()]).to(generator.device)
    if not 0 < n < len(losses):
        raise ValueError("both sets need at least one loss")
    if bool(losses.isnan().any()):
        raise ValueError("a loss is NaN")
    # Rank groups are found once; a resample only changes how often each group is drawn.
    groups, ranks = torch.unique(losses, return_inverse=True)
    inside, outside = ranks[:n], ranks[n:]
    width = len(groups)
    estimates = []
    block = max(1, 4_000_000 // len(losses))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        estimates.append(
            _area(_drawn(inside, rows, width, generator), _drawn(outside, rows, width, generator))
        )
    exact = _area(_counts(inside[None], width), _counts(outside[None], width))
    return Membership(float(exact), percentile_interval(torch.cat(estimates)))


def _counts(ranks: Tensor, width: int) -> Tensor:
    """How often each rank occurs in every row: (rows, n) int64 -> (rows, width) float."""
    counts = torch.zeros(len(ranks), width, device=ranks.device)
    return counts.scatter_add_(1, ranks, torch.ones_like(ranks, dtype=counts.dtype))


def _drawn(ranks: Tensor, rows: int, width: int, generator: torch.Generator) -> Tensor:
    picks = torch.randint(len(ranks), (rows, len(ranks)), generator=generator, device=generator.device)
    return _counts(ranks[picks], width)


def _area(inside: Tensor, outside: Tensor) -> Tensor:
    """P(member's loss < other's) + P(equal) / 2, (rows,), from counts (rows, width) over ascending losses."""
    above = outside.flip(1).cumsum(dim=1).flip(1) - 0.5 * outside
    return (inside * above).sum(dim=1) / (inside.sum(dim=1) * outside.sum(dim=1))
