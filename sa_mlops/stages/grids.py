"""Sample grids: the same latents for every generator, one class a column."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sa_mlops.core.runtime import make_generator
from sa_mlops.models.interface import CVAE
from sa_mlops.plots.grids import mosaic
from sa_mlops.stages.runs import StageRun

ROWS = 4
LOGGED = 16
"""Grids logged while a generator trains."""


def grid(model: CVAE, seed: int, device: torch.device, rows: int = ROWS) -> NDArray[np.float32]:
    """Images (rows, K, C, H, W) of all classes; row r has the same latent in every column and for every model."""
    z = torch.randn(rows, model.z_dim, generator=make_generator(torch.device("cpu"), seed, "grid")).to(device)
    labels = torch.arange(model.classes, device=device).repeat(rows)
    with torch.no_grad():
        images = model.sample(z.repeat_interleave(model.classes, dim=0), labels)
    array: NDArray[np.float32] = images.view(rows, model.classes, *model.shape).cpu().numpy()
    return array


class GridLog:
    """An `on_step` that logs sample grids over a training loop, more often at its start, where most changes."""

    def __init__(self, run: StageRun, steps: int, seed: int, device: torch.device) -> None:
        self.run, self.seed, self.device = run, seed, device
        self.due = {max(1, round(steps * (i / (LOGGED - 1)) ** 2)) for i in range(LOGGED)}

    def __call__(self, step: int, model: CVAE) -> None:
        """Log a grid if one is due."""
        if step in self.due:
            self.run.image("samples", mosaic(grid(model, self.seed, self.device)), step)
