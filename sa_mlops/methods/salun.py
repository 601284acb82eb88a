"""Saliency unlearning: random labels on the weights that matter to the class (Fan et al., 2024, arXiv:2310.12508).

The loss of `random-label`, on the weights in the mask

    m = 1(|g| >= gamma),    g = gradient at theta0 of the term of the class,

with gamma such that the share `saliency` of all weights is in it; the others stay as they are. g is averaged over
`BATCHES` batches. The paper takes the gradient of the training loss on the class's real images, and gamma as its
median; here no real data is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Request
from sa_mlops.methods.random_label import forget_term, loss
from sa_mlops.methods.replay import WeightedSettings
from sa_mlops.parameters import number

if TYPE_CHECKING:
    from torch import Tensor

    from sa_mlops.models.interface import CVAE

BATCHES = 20


@dataclass(frozen=True, kw_only=True)
class SalunSettings(WeightedSettings):
    """Options, which are the settings too."""

    saliency: float = number(
        "share of the weights that may change: those with the largest gradient of the class's loss", 0.5, above=0,
        high=1, search=(0.05, 1),
    )  # fmt: skip


def mask(request: Request) -> list[Tensor]:
    """1 where a weight may change and 0 elsewhere, in the order of `parameters`."""
    import copy

    import torch

    model = copy.deepcopy(request.start).requires_grad_(True)
    for _ in range(BATCHES):
        forget_term(request, model).backward()
    sizes = [torch.zeros_like(p) if p.grad is None else p.grad.abs() for p in model.parameters()]
    flat = torch.cat([size.flatten() for size in sizes])
    least = flat.topk(max(1, round(request.settings.saliency * len(flat)))).values[-1]
    return [((size >= least) & (size > 0)).to(size.dtype) for size in sizes]


def run(request: Request) -> CVAE:
    """The start after training the salient weights on random labels."""
    from sa_mlops.methods.replay.training import train

    return train(request, loss(request), mask(request))


METHOD = Method(
    name="salun",
    help="random labels, on the weights with the largest gradient of the class's loss",
    config=SalunSettings,
    target="another class",
    run=run,
)
