"""Calibration: the agreement of a judge's confidence with its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15


@dataclass(frozen=True, slots=True)
class Reliability:
    """A judge's answers in bins of equal width over its confidence in its first choice.

    Attributes
    ----------
    confidence : (bins,) mean confidence, [0, 1]; NaN where a bin is empty.
    accuracy : (bins,) share of right first choices, [0, 1]; NaN where a bin is empty.
    count : (bins,) int64, samples in each bin.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def ece(self) -> float:
        """Expected calibration error, [0, 1]: mean over samples of their bin's |accuracy - confidence|."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((gaps * self.count).sum() / self.count.sum())


def reliability(log_probs: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """Reliability curve (Guo et al., 2017, arXiv:1706.04599).

    Bin i holds the confidences in (i / bins, (i + 1) / bins].

    Raises ValueError without any sample.

    Parameters
    ----------
    log_probs : (n, classes) natural-log probabilities.
    labels : (n,) int64, true classes.
    """
    if not len(labels):
        raise ValueError("no samples to calibrate on")
    confidence, choice = log_probs.detach().cpu().double().exp().max(dim=1)
    correct = (choice == labels.cpu()).double()
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    count = torch.bincount(index, minlength=bins)
    return Reliability(
        confidence=torch.bincount(index, confidence, minlength=bins) / count,
        accuracy=torch.bincount(index, correct, minlength=bins) / count,
        count=count,
    )
