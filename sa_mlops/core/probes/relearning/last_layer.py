"""Relearning with the last layer alone, as a linear readout of what the decoder still computes."""

from __future__ import annotations

import torch
from torch import nn

from sa_mlops.models.interface import CVAE


def last_layer(model: CVAE, generator: torch.Generator) -> list[nn.Parameter]:  # noqa: ARG001
    """Weights and biases of the layer that yields the pixel logits."""
    model.requires_grad_(False)
    return list(model.last_layer().requires_grad_(True).parameters())
