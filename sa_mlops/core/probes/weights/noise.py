"""Gaussian noise on the decoder's weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, edited

LEVELS = (0.05, 0.1, 0.2, 0.5)


def noise(scene: Scene, generator: torch.Generator) -> Variants:
    """Noise of 5 to 50 % of the standard deviation of each layer's weights."""

    def noisy(weight: Tensor, level: float) -> Tensor:
        draws = torch.randn(weight.shape, generator=generator, device=weight.device)
        return weight + level * weight.std() * draws

    for level in LEVELS:
        yield f"{level:.0%}", edited(scene.model, partial(noisy, level=level))
