"""Confidence intervals: bootstrap for means, score intervals for shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 0.95
"""Coverage of every interval."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of the estimated quantity."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def as_metrics(key: str, value: float, interval: Interval) -> dict[str, float]:
    """A value and its interval by their MLflow names: `KEY`, `KEY.low`, `KEY.high`."""
    return {key: value, f"{key}.low": interval.low, f"{key}.high": interval.high}


def bootstrap_interval(values: Tensor, generator: torch.Generator, resamples: int = RESAMPLES) -> Interval:
    """Percentile bootstrap interval of the mean of values (n,) (Efron, 1979).

    Raises ValueError without any value.

    Parameters
    ----------
    generator : decides the resamples; its device does the work.
    """
    if not len(values):
        raise ValueError("no values to resample")
    x = values.detach().to(generator.device, torch.float32)
    n = len(x)
    means = []
    # A million indices at a time keep the memory flat.
    block = max(1, 1_000_000 // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        picks = torch.randint(n, (rows, n), generator=generator, device=generator.device)
        means.append(x[picks].mean(dim=1))
    return percentile_interval(torch.cat(means))


def percentile_interval(estimates: Tensor) -> Interval:
    """Bounds of the central `LEVEL` share of bootstrap estimates (resamples,)."""
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(estimates, torch.tensor([tail, 1 - tail]).to(estimates)).tolist()
    return Interval(low, high)


def wilson_interval(successes: int, trials: int) -> Interval:
    """Score interval of a share (Wilson, 1927): inside [0, 1], and not empty at 0 or `trials` successes.

    Raises ValueError unless 0 <= successes <= trials and trials > 0.
    """
    from scipy.stats import binomtest  # 50 MB that training does without

    found = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def difference_interval(successes: int, trials: int, other_successes: int, other_trials: int) -> Interval:
    """Interval of the difference of two independent shares, first minus second (Newcombe, 1998, method 10).

    Built from the two Wilson intervals; within [-1, 1]. Errors as in `wilson_interval`.
    """
    a, b = wilson_interval(successes, trials), wilson_interval(other_successes, other_trials)
    p, q = successes / trials, other_successes / other_trials
    return Interval(p - q - math.hypot(p - a.low, b.high - q), p - q + math.hypot(a.high - p, q - b.low))
