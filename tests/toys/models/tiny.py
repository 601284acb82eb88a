"""A net in one file: a convolution and a linear layer each way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.interface import CVAE, LOG_VAR_RANGE


class Tiny(CVAE):
    """Encoder conv 8 -> (mean, log-variance), decoder 32 -> logits, both with the label as a one-hot vector."""

    decoder: nn.Sequential

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__(spec, z_dim)
        channels, h, w = spec.shape
        self.encoder = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
        self.posterior = nn.Linear(8 * ((h + 1) // 2) * ((w + 1) // 2) + spec.count, 2 * z_dim)
        self.decoder = nn.Sequential(nn.Linear(z_dim + spec.count, 32), nn.ReLU(), nn.Linear(32, spec.pixels))

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.posterior(torch.cat([self.encoder(images), condition], dim=1)).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR_RANGE)

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        logits: Tensor = self.decoder(torch.cat([z, condition], dim=1)).unflatten(1, self.shape)
        return logits

    def hidden(self, z: Tensor, condition: Tensor) -> Sequence[Tensor]:
        return [torch.relu(self.decoder[0](torch.cat([z, condition], dim=1)))]

    def last_layer(self) -> nn.Module:
        return self.decoder[-1]

    def label_layers(self) -> Sequence[nn.Linear]:
        return [self.posterior, self.decoder[0]]


NET = Tiny
