"""Relearning with low-rank factors beside the weights (LoRA; Hu et al., 2021, arXiv:2106.09685)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sa_mlops.models.interface import CVAE

RANK = 4
KINDS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class _Factors(nn.Module):
    """A weight plus the product of two factors, at first zero."""

    def __init__(self, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        rest = weight[0].numel()
        down = torch.randn(RANK, rest, generator=generator, device=weight.device) / rest**0.5
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(weight.new_zeros(len(weight), RANK))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return weight + (self.up @ self.down).view_as(weight)


def low_rank(model: CVAE, generator: torch.Generator) -> list[nn.Parameter]:
    """The factors of rank `RANK` of every linear and convolutional layer of encoder and decoder, drawn here."""
    model.requires_grad_(False)
    for module in [m for m in model.modules() if isinstance(m, KINDS)]:
        parametrize.register_parametrization(module, "weight", _Factors(module.weight, generator))
    return [p for p in model.parameters() if p.requires_grad]
