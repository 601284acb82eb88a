"""A ring buffer of places where attacks have found the class, which later steps rehearse."""

from __future__ import annotations

import torch
from torch import Tensor

CAPACITY = 8_192
"""Places that a buffer holds; the oldest are overwritten."""


class Buffer:
    """The newest `CAPACITY` places in latent and condition space.

    Attributes
    ----------
    written : places stored so far.
    """

    def __init__(self, z_dim: int, classes: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.z = torch.zeros(CAPACITY, z_dim, device=generator.device)
        self.condition = torch.zeros(CAPACITY, classes, device=generator.device)
        self.written = 0

    def store(self, z: Tensor, condition: Tensor) -> None:
        """Store places: latents (m, z_dim) and conditions (m, K); of more than `CAPACITY` the last."""
        z, condition = z[-CAPACITY:], condition[-CAPACITY:]
        rows = (self.written + torch.arange(len(z), device=z.device)) % CAPACITY
        self.z[rows], self.condition[rows] = z, condition
        self.written += len(z)

    def recall(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` places with replacement, (count, z_dim), (count, K); none from an empty buffer."""
        known = min(self.written, CAPACITY)
        size = (count if known else 0,)
        rows = torch.randint(max(known, 1), size, generator=self.generator, device=self.generator.device)
        return self.z[rows], self.condition[rows]
