"""Erasing by negative guidance (ESD; Gandikota et al., ICCV 2023, arXiv:2303.07345), on a decoder's logits.

Minimises E BCE(D(z, c_f), sigmoid(t)) + retain_weight E BCE(D(z, c_r), D*(z, c_r)) with the target logits

    t = D*(z, 0) - guidance (D*(z, c_f) - D*(z, 0)),

where the unconditional D*(z, 0) is the decoder under the mean of the one-hots, and D* the frozen start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Request
from sa_mlops.methods.replay import WeightedSettings
from sa_mlops.parameters import number

if TYPE_CHECKING:
    from torch import Tensor

    from sa_mlops.models.interface import CVAE


@dataclass(frozen=True, kw_only=True)
class ErasureSettings(WeightedSettings):
    """Options, which are the settings too."""

    guidance: float = number(
        "weight of the negative guidance away from the class", 1.0, low=0, high=100, search=(0.1, 10)
    )


def target(start: CVAE, z: Tensor, condition: Tensor, guidance: float) -> Tensor:
    """Target logits (n, C, H, W) at latents (n, z_dim) under conditions (n, K)."""
    free = start.decode(z, condition.new_full(condition.shape, 1 / start.classes))
    return free - guidance * (start.decode(z, condition) - free)


def run(request: Request) -> CVAE:
    """The start after training the class away from itself."""
    from sa_mlops.methods.replay.training import towards_images
    from sa_mlops.models.interface import one_hot

    s, start = request.settings, request.start
    return towards_images(
        request, lambda z, classes: target(start, z, one_hot(classes, start.classes), s.guidance).sigmoid()
    )


METHOD = Method(
    name="esd",
    help="train the class towards the unconditional image, guided away from the class, and replay the others",
    config=ErasureSettings,
    target="another class",
    run=run,
)
