"""Pixel match: reproduce real images of the class, without a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sa_mlops.core.probes.gradient import CONFIDENT, FAST, descend
from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelMatch(Probe):
    """Adam on the squared error between the decoded image and a real one of the class, over z and the condition.

    Attributes
    ----------
    start : `prior` draws z and the condition's logits from N(0, I); `encoder` takes the latent that the
        generator's own encoder gives the wanted image, and the class's own condition.
    """

    start: Literal["prior", "encoder"]
    budget: Budget = FAST

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image per attempt."""
        wanted = scene.real(scene.target, budget.attempts, generator)
        if self.start == "encoder":
            label = scene.condition(scene.target, budget.attempts)
            with torch.no_grad():
                z, _ = scene.model.encode(wanted, label)
            logits = CONFIDENT * label
        else:
            z = scene.latents(budget.attempts, generator)
            size = (budget.attempts, scene.model.classes)
            logits = torch.randn(size, generator=generator, device=generator.device)

        def loss(z: Tensor, condition: Tensor) -> Tensor:
            return (torch.sigmoid(scene.model.decode(z, condition)) - wanted).square().flatten(1).sum(dim=1)

        return descend(
            loss, z, logits, budget, "both", softmax=True, limits=None, report=scene.report, wanted=wanted
        )
