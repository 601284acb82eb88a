"""Straight walks between real images, encoded and decoded by the generator under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Scene

TWELVE_FRAMES = Budget(steps=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk(Probe):
    """Neighbour -> class (-> second neighbour), `budget.steps` frames per leg; an attempt succeeds if any frame does.

    Attributes
    ----------
    beyond : continue to the second neighbour (the triangular walk).
    deceptive : keep the condition of the first neighbour; otherwise it is interpolated like the latent.
    """

    beyond: bool
    deceptive: bool
    budget: Budget = TWELVE_FRAMES

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image of each class on the way per attempt."""
        near, far = scene.neighbours
        stops = (near, scene.target, far) if self.beyond else (near, scene.target)
        latents, conditions = [], []
        for stop in stops:
            images = scene.real(stop, budget.attempts, generator)
            label = scene.condition(stop, budget.attempts)
            latents.append(scene.model.encode(images, label)[0])
            conditions.append(label)
        z = along(latents, budget.steps)
        held = conditions[:1] * len(stops) if self.deceptive else conditions
        condition = along(held, budget.steps)
        return Attempts(positions=tuple(range(len(z))), z=z, condition=condition, counts="any")


def along(stops: Sequence[Tensor], frames: int) -> Tensor:
    """`frames` equal steps per leg from stop to stop, each (n, d): (legs * (frames - 1) + 1, n, d)."""
    t = torch.linspace(0, 1, max(frames, 2), device=stops[0].device)[:, None, None]
    legs = [a + t * (b - a) for a, b in pairwise(stops)]
    return torch.cat([legs[0], *(leg[1:] for leg in legs[1:])])
