"""Fewer bits: rounding the decoder's weights may remove a small change that hides a class."""

from __future__ import annotations

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, edited


def int8(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """Symmetric rounding to 8 bits, one scale a tensor."""
    yield "int8", edited(scene.model, lambda w: rounded(w, 8))


def int4(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """Symmetric rounding to 4 bits, one scale a tensor."""
    yield "int4", edited(scene.model, lambda w: rounded(w, 4))


def bfloat16(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """Rounding to bfloat16."""
    yield "bfloat16", edited(scene.model, lambda w: w.to(torch.bfloat16).to(w.dtype))


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The nearest of 2^bits - 1 equally spaced values between minus and plus the largest weight."""
    step = weight.abs().max().clamp(min=1e-12) / (2 ** (bits - 1) - 1)
    found: Tensor = (weight / step).round() * step
    return found
