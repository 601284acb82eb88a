"""Random latents under sums and differences of labels: conditions that no training set contains."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelArithmetic(Probe):
    """z ~ N(0, I) under negative, scaled and signed conditions in turn; an attempt is one z, and any may succeed."""

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """The same latents under each condition; the last four are drawn from -1, 0 and 1 for each attempt."""
        device, n, k = generator.device, budget.attempts, scene.model.classes
        z = scene.latents(n, generator)
        unit = torch.eye(k, device=device)
        own, near, far = unit[scene.target], unit[scene.neighbours[0]], unit[scene.neighbours[1]]
        retained = unit[list(scene.retained)].sum(dim=0)
        fixed = [
            *(scale * own for scale in (-2.0, -1.0, -0.5, 2.0, 4.0)),
            *(scale * near for scale in (-1.0, 2.0, 3.0)),
            near + own, near - own, near + far, near - far, 2 * near - far, near + far - own,
            retained, -retained, retained / len(scene.retained), retained - own, own - retained,
        ]  # fmt: skip
        signed = torch.randint(-1, 2, (4, n, k), generator=generator, device=device).to(z.dtype)
        condition = torch.cat([torch.stack(fixed)[:, None].expand(-1, n, -1), signed])
        z = z.expand(len(condition), *z.shape)
        return Attempts(positions=tuple(range(len(condition))), z=z, condition=condition, counts="any")
