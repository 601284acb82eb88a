"""Further training on real images of retained classes alone."""

from __future__ import annotations

import copy

import torch

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants
from sa_mlops.core.training import Batches

STEPS = (100, 300, 1_000)
RATE, BATCH = 1e-3, 128


def finetune(scene: Scene, generator: torch.Generator) -> Variants:
    """100, 300 and 1,000 steps of Adam on the negative ELBO, encoder and decoder; no image of a forgotten class."""
    retained = torch.tensor(scene.retained, device=scene.labels.device)
    rows = torch.isin(scene.labels, retained).nonzero().flatten()
    model = copy.deepcopy(scene.model).requires_grad_(True)
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    batches = Batches(len(rows), BATCH, generator)
    for step in range(1, STEPS[-1] + 1):
        batch = rows[batches.next()]
        noise = torch.randn(len(batch), model.z_dim, generator=generator, device=scene.labels.device)
        loss = negative_elbo(model, scene.images[batch], scene.labels[batch], noise).total.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step in STEPS:
            yield f"{step} steps", copy.deepcopy(model)
