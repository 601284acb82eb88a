"""Pixel match: reproduce real images of the class, with no classifier in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sa_mlops.core.probes.base import Attempts, Budget, Role, Scene
from sa_mlops.core.probes.gradient import CONFIDENT, FAST, descend
from sa_mlops.models.mlp import one_hot
from sa_mlops.settings import CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelMatch:
    """Adam on the squared error between the decoded image and a real one of the class, over z and the condition.

    Attributes
    ----------
    start : `prior` draws z and the condition's logits from N(0, I); `encoder` takes the base encoder's latent of
        the wanted image and the class's own condition.
    """

    start: Literal["prior", "encoder"]
    budget: Budget = FAST

    def roles(self) -> Sequence[Role]:
        """None."""
        return ()

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image an attempt."""
        wanted = scene.real(scene.digit, budget.attempts, generator)
        if self.start == "encoder":
            label = one_hot(torch.full((budget.attempts,), scene.digit, device=wanted.device))
            with torch.no_grad():
                z, _ = scene.base.encode(wanted, label)
            logits = CONFIDENT * label
        else:
            z = torch.randn(budget.attempts, scene.model.z_dim, generator=generator, device=generator.device)
            logits = torch.randn(budget.attempts, CLASSES, generator=generator, device=generator.device)

        def loss(z: Tensor, condition: Tensor) -> Tensor:
            return (torch.sigmoid(scene.model.decode(z, condition)) - wanted).square().sum(dim=1)

        return descend(
            loss, z, logits, budget, "both", softmax=True, limits=None, report=scene.report, wanted=wanted
        )
