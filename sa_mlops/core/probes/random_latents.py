"""Random latents under a weak condition: whether a small weight of the class still draws it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomLatents(Probe):
    """z ~ N(0, I) under scale * one-hot, for each of `scales` in turn; an attempt is one z.

    Attributes
    ----------
    scales : in ascending order; 1 is the class label itself.
    """

    scales: tuple[float, ...]

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """The same latents at every scale."""
        z, label = scene.latents(budget.attempts, generator), scene.condition(scene.target, budget.attempts)
        condition = torch.stack([scale * label for scale in self.scales])
        z = z.expand(len(self.scales), *z.shape)
        return Attempts(positions=self.scales, z=z, condition=condition, counts="any")
