"""Random latents under a weak condition: whether a small weight of the class still draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sa_mlops.core.probes.interface import NO_STEPS, Attempts, Budget, Role, Scene
from sa_mlops.models.interface import one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomLatents:
    """z ~ N(0, I) under scale * one-hot, for each of `scales` in turn; an attempt is one z.

    Attributes
    ----------
    scales : in ascending order; 1 is the class label itself.
    """

    scales: tuple[float, ...]
    budget: Budget = NO_STEPS

    def roles(self) -> Sequence[Role]:
        """None."""
        return ()

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """The same latents at every scale."""
        z = torch.randn(budget.attempts, scene.model.z_dim, generator=generator, device=generator.device)
        label = one_hot(torch.full((budget.attempts,), scene.target, device=z.device), scene.model.classes)
        condition = torch.stack([scale * label for scale in self.scales])
        return Attempts(
            positions=self.scales,
            z=z.expand(len(self.scales), *z.shape),
            condition=condition,
            counts="any",
            loss=z.new_empty(0),
        )
