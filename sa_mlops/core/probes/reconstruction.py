"""Reconstruction of real images from the base encoder's latents under a noisy condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sa_mlops.core.probes.interface import NO_STEPS, Attempts, Budget, Role, Scene
from sa_mlops.models.interface import one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Decode z = mean + noise of a real image under softmax(one-hot + noise).

    Attributes
    ----------
    z_noise, condition_noise : standard deviations.
    """

    z_noise: float = 0.1
    condition_noise: float = 0.1
    budget: Budget = NO_STEPS

    def roles(self) -> Sequence[Role]:
        """None."""
        return ()

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image of the class per attempt."""
        images = scene.real(scene.target, budget.attempts, generator)
        label = one_hot(
            torch.full((budget.attempts,), scene.target, device=images.device), scene.model.classes
        )
        mean, _ = scene.base.encode(images, label)
        z = mean + self.z_noise * torch.randn(mean.shape, generator=generator, device=mean.device)
        noise = torch.randn(label.shape, generator=generator, device=mean.device)
        condition = (label + self.condition_noise * noise).softmax(dim=1)
        return Attempts(
            positions=(0,),
            z=z[None],
            condition=condition[None],
            counts="last",
            loss=z.new_empty(0),
            wanted=images,
        )
