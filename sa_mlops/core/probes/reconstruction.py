"""Reconstruction of real images of the class from the latents of an encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction(Probe):
    """Decode z = mean + noise of a real image, encoded under the class, under softmax(one-hot + noise).

    Attributes
    ----------
    z_noise, condition_noise : standard deviations.
    lent : the base's encoder instead of the generator's own.
    """

    z_noise: float = 0.1
    condition_noise: float = 0.1
    lent: bool = False

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image of the class per attempt."""
        images = scene.real(scene.target, budget.attempts, generator)
        label = scene.condition(scene.target, budget.attempts)
        mean, _ = (scene.base if self.lent else scene.model).encode(images, label)
        z = mean + self.z_noise * torch.randn(mean.shape, generator=generator, device=mean.device)
        noise = torch.randn(label.shape, generator=generator, device=mean.device)
        condition = (label + self.condition_noise * noise).softmax(dim=1)
        return Attempts(positions=(0,), z=z[None], condition=condition[None], counts="last", wanted=images)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEncoder(Probe):
    """Encode a real image with the generator's own encoder and decode the mean, under each retained label in turn."""

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One real image of the class per attempt; any label may succeed. Positions are the labels' indices."""
        images = scene.real(scene.target, budget.attempts, generator)
        latents, conditions = [], []
        for label in scene.retained:
            conditions.append(scene.condition(label, budget.attempts))
            latents.append(scene.model.encode(images, conditions[-1])[0])
        z, condition = torch.stack(latents), torch.stack(conditions)
        return Attempts(positions=scene.retained, z=z, condition=condition, counts="any", wanted=images)
