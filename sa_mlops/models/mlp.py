"""The paper's net: an MLP encoder and decoder, both given the class as a one-hot vector beside their input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.interface import CVAE, LOG_VAR_RANGE, Units


class MLP(CVAE):
    """Encoder (CHW + K) -> 512 -> 256 -> (mean, log-variance); decoder (z_dim + K) -> 256 -> 512 -> CHW logits."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__(spec, z_dim)
        self.encoder = nn.Sequential(
            nn.Linear(spec.pixels + spec.count, 512), nn.ReLU(),
            nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2 * z_dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(z_dim + spec.count, 256), nn.ReLU(),
            nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, spec.pixels),
        )  # fmt: skip

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """See `CVAE.encode`."""
        mean, log_var = self.encoder(torch.cat([images.flatten(1), condition], dim=1)).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR_RANGE)

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """See `CVAE.decode`."""
        logits: Tensor = self.decoder(torch.cat([z, condition], dim=1)).unflatten(1, self.shape)
        return logits

    def hidden(self, z: Tensor, condition: Tensor) -> Sequence[Tensor]:
        """The two ReLU layers' outputs, (n, 256) and (n, 512)."""
        activations = [torch.cat([z, condition], dim=1)]
        for layer in self.decoder[:-1]:
            activations.append(layer(activations[-1]))
        return activations[2::2]

    def last_layer(self) -> nn.Module:
        """See `CVAE.last_layer`."""
        return self.decoder[-1]

    def label_layers(self) -> Sequence[nn.Linear]:
        """The first layer of each side."""
        return [layer for side in (self.encoder, self.decoder) if isinstance(layer := side[0], nn.Linear)]

    def units(self) -> Sequence[Units]:
        """See `CVAE.units`."""
        layers = [layer for layer in self.decoder if isinstance(layer, nn.Linear)]
        return [Units((a.weight, a.bias), (b.weight.T,)) for a, b in pairwise(layers)]


NET = MLP
