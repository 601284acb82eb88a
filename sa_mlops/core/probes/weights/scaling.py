"""Scaling: the parameters of one layer of the decoder times a factor."""

from __future__ import annotations

import copy

import torch

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, layers

FACTORS = (0.5, 2.0)


@torch.no_grad()
def scale(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """Each layer halved and doubled."""
    for name in layers(scene.model):
        for factor in FACTORS:
            model = copy.deepcopy(scene.model)
            for parameter in layers(model)[name].parameters():
                parameter.mul_(factor)
            yield f"{name} x {factor:g}", model
