"""Label columns: the weights of the forgotten label replaced by those of retained ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, layers
from sa_mlops.models.interface import CVAE


@torch.no_grad()
def label_column(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """The label's columns set to the mean of the retained labels', and to zero."""
    for name in ("mean of the retained", "zero"):
        model = copy.deepcopy(scene.model)
        for columns in label_columns(model):
            mean = columns[:, list(scene.retained)].mean(dim=1)
            columns[:, scene.target] = mean if name != "zero" else 0.0
        yield name, model


def label_columns(model: CVAE) -> list[Tensor]:
    """Views (m, K) of the decoder's weights that multiply the condition.

    A linear layer of K inputs reads the condition; one of z_dim + K inputs reads the latent, then the condition.
    """
    sizes = (model.classes, model.z_dim + model.classes)
    found = [m for m in layers(model).values() if isinstance(m, nn.Linear) and m.in_features in sizes]
    return [layer.weight.detach()[:, -model.classes :] for layer in found]
