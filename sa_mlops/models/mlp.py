"""Conditional variational autoencoder on 28x28 images in [0, 1]."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops.settings import CLASSES, PIXELS

LOG_VAR_RANGE = (-30.0, 20.0)
"""Bounds of the log-variance, so that its exponential stays finite. A healthy model never comes near them."""


class CVAE(nn.Module):
    """MLP encoder and decoder, both given the class as a one-hot vector beside their input.

    Encoder (784 + 10) -> 512 -> 256 -> (mean, log-variance); decoder (z_dim + 10) -> 256 -> 512 -> 784 logits.

    Parameters
    ----------
    z_dim : latent size, 1 or more.
    """

    def __init__(self, z_dim: int = 8) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS + CLASSES, 512),
            nn.ReLU(),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Linear(256, 2 * z_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(z_dim + CLASSES, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, PIXELS)
        )

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of the latent.

        Parameters
        ----------
        images : (n, 784) in [0, 1].
        condition : (n, 10) one-hot, or any weights an attacker chooses.

        Returns
        -------
        mean, log_var : (n, z_dim) each.
        """
        mean, log_var = self.encoder(torch.cat([images, condition], dim=1)).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR_RANGE)

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """Pixel logits (n, 784) of latents (n, z_dim) under conditions (n, 10)."""
        logits: Tensor = self.decoder(torch.cat([z, condition], dim=1))
        return logits

    def sample(self, z: Tensor, labels: Tensor) -> Tensor:
        """Mean images (n, 784) in [0, 1] of latents (n, z_dim) and class labels (n,) int64."""
        return torch.sigmoid(self.decode(z, one_hot(labels)))

    def raised(self, contrast: float) -> CVAE:
        """A copy whose pixel logits are `contrast` times these; grey stays grey, what is faint becomes visible."""
        copied = copy.deepcopy(self)
        last = copied.decoder[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(contrast)
        return copied


def one_hot(labels: Tensor) -> Tensor:
    """(n,) int64 labels -> (n, 10) float32."""
    return F.one_hot(labels, CLASSES).to(torch.float32)
