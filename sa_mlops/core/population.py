"""Forgetting as a distribution: the margins of many generators, beside those of as many that never saw the class.

KLOM (Georgiev et al., 2024, arXiv:2410.23232): one training is one draw from a distribution of models, and a class is
removed where, image by image, the margins of forgotten and of retrained models are distributed alike. Even then the
divergence of two histograms of few draws is far above zero, so it is compared with the null: the divergence between two
halves of the retrained models, from as many draws and the same bins.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.models.interface import CVAE

BINS = 20
"""Of KLOM."""
DRAWS = 8
"""Latents behind an evidence lower bound."""
SPLITS = 100
"""Divisions into halves that are tried, at most."""


@torch.no_grad()
def margins(model: CVAE, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Log-odds of each image's own label, (n,) nats, where the generator is used as a classifier.

    KLOM's margin is a classifier's logit of the own label less the log-sum-exp of the others. A conditional generator
    is a classifier by Bayes' rule, with log p(x | label) as its logits (Ng and Jordan, 2001); as there the evidence
    lower bound under the model's own encoder stands for it (Li et al., 2023, arXiv:2303.16203). The reconstruction
    alone would not do: an encoder that knows a digit puts it into latents that the prior never draws.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1].
    labels : (n,) int64.
    generator : source of the latents; equal seeds give equal latents to every model.
    """
    noises = torch.randn(DRAWS, len(labels), model.z_dim, generator=generator, device=labels.device)
    logits = torch.zeros(len(labels), model.classes, device=labels.device)
    for c in range(model.classes):
        for noise in noises:
            logits[:, c] -= negative_elbo(model, images, torch.full_like(labels, c), noise).total / DRAWS
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], value=True)
    return logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(dim=1)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over images, in nats: over all divisions into halves, and of the least and the greatest of them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How the margins of N models and of N retrained ones overlap.

    Attributes
    ----------
    divergence : KL(half of the retrained ones || as many of the models), of other seeds.
    null : KL(the same half || the other half of the retrained ones).
    """

    divergence: Spread
    null: Spread


def overlap(retrained: Tensor, models: Tensor) -> Overlap:
    """Divergences of per-image histograms of `BINS` bins between the least and the greatest margin of both.

    Every bin gets 1 / `BINS` of an observation more, so that empty ones stay finite: see `ceiling`.

    Raises ValueError for other shapes, or a margin that is not finite.

    Parameters
    ----------
    retrained, models : (N, n) margins of N models each on n images, N even and at least 2; row i of both has one seed.
    """
    count = len(retrained)
    if count < 2 or count % 2 or retrained.shape != models.shape:
        raise ValueError(
            f"margins of an even number of models each wanted, not {tuple(retrained.shape)} and {tuple(models.shape)}"
        )
    both = torch.cat([retrained, models])
    if not bool(both.isfinite().all()):
        raise ValueError("a margin is not finite")
    low, high = both.amin(dim=0), both.amax(dim=0)
    places = ((both - low) / (high - low).clamp(min=1e-12) * BINS).long().clamp(max=BINS - 1)
    theirs, own = torch.nn.functional.one_hot(places, BINS).double().split(count)
    divergences, nulls = [], []
    for half in _halves(count):
        rest = [i for i in range(count) if i not in half]
        first = _smoothed(theirs[list(half)])
        nulls.append(_divergence(first, _smoothed(theirs[rest])))
        divergences.append(_divergence(first, _smoothed(own[rest])))
    return Overlap(_spread(divergences), _spread(nulls))


def ceiling(count: int) -> float:
    """The largest divergence that `overlap` can find with N = `count` models, in nats: no bin has both."""
    full, empty = count // 2 + 1 / BINS, 1 / BINS
    return (full - empty) / (full + empty * (BINS - 1)) * math.log(full / empty)


def _halves(count: int) -> list[tuple[int, ...]]:
    """Halves of `count` models: all, or `SPLITS` of them, drawn."""
    if math.comb(count, count // 2) <= SPLITS:
        return list(itertools.combinations(range(count), count // 2))
    source = torch.Generator().manual_seed(0)
    return [tuple(torch.randperm(count, generator=source)[: count // 2].tolist()) for _ in range(SPLITS)]


def _smoothed(counts: Tensor) -> Tensor:
    """One-hot bins (h, n, BINS) of h models -> histograms (n, BINS) that sum to 1."""
    return (counts.sum(dim=0) + 1 / BINS) / (len(counts) + 1)


def _divergence(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum(dim=1).mean())


def _spread(values: list[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values))
