"""Label columns: the weights of the forgotten label replaced by those of retained ones."""

from __future__ import annotations

import copy

import torch

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants


@torch.no_grad()
def label_column(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """The label's columns set to the mean of the retained labels', and to zero."""
    for name in ("mean of the retained", "zero"):
        model = copy.deepcopy(scene.model)
        for columns in model.label_weights(model.decoder):
            mean = columns[:, list(scene.retained)].mean(dim=1)
            columns[:, scene.target] = mean if name != "zero" else 0.0
        yield name, model
