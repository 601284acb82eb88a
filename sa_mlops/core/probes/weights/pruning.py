"""Pruning: the smallest weights of each layer of the decoder set to zero."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, edited

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def prune(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """10 to 90 % of each layer's weights, by magnitude."""
    for share in SHARES:
        yield f"{share:.0%}", edited(scene.model, partial(pruned, share=share))


def pruned(weight: Tensor, share: float) -> Tensor:
    """The weights with the smallest `share` of them set to zero."""
    count = round(share * weight.numel())
    order = weight.abs().flatten().argsort()
    kept = weight.flatten().clone()
    kept[order[:count]] = 0.0
    return kept.view_as(weight)
