"""The straight line between the weights of the generator and those of its base."""

from __future__ import annotations

import copy

import torch

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants

PLACES = (0.1, 0.25, 0.5, 0.75)
"""Shares of the way to the base, at which the attacker already is."""


@torch.no_grad()
def line(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """Weights between the generator's (0) and the base's (1). Raises ValueError if the base is another net."""
    if scene.model.net != scene.base.net:
        raise ValueError(f"no line from the net {scene.model.net} to the base's {scene.base.net}")
    ends = dict(scene.base.named_parameters())
    for place in PLACES:
        model = copy.deepcopy(scene.model)
        for name, parameter in model.named_parameters():
            parameter.lerp_(ends[name], place)
        yield f"{place:g} of the way", model
