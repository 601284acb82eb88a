"""Relearning with every weight of encoder and decoder."""

from __future__ import annotations

import torch
from torch import nn

from sa_mlops.models.interface import CVAE


def all_weights(model: CVAE, generator: torch.Generator) -> list[nn.Parameter]:  # noqa: ARG001
    """Every weight and bias."""
    return list(model.requires_grad_(True).parameters())
