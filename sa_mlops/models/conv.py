"""A convolutional net for grey or colour images with sides of 16 to 64 pixels; the class enters at every scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.interface import CVAE, LOG_VAR_RANGE, Units

COARSEST = 10
"""Images are halved until no side is longer than this."""
WIDTH, LEAST_WIDTH = 32, 16
"""Channels of the coarsest scale; each finer one has half as many, at least the second number."""
HIDDEN = 256
"""Units between the coarsest scale and the latent."""


def scales(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(channels, height, width) of each scale, from the image to the coarsest; sides are halved and rounded down."""
    sides = [shape[1:]]
    while len(sides) == 1 or max(sides[-1]) > COARSEST:
        h, w = sides[-1]
        sides.append((h // 2, w // 2))
    last = len(sides) - 1
    widths = [shape[0], *(max(LEAST_WIDTH, WIDTH >> (last - i)) for i in range(1, last + 1))]
    return [(channels, h, w) for channels, (h, w) in zip(widths, sides, strict=True)]


def per_channel(values: Tensor) -> Tensor:
    """(n, channels) -> (n, channels, 1, 1)."""
    return values[:, :, None, None]


class Encoder(nn.Module):
    """Convolutions of stride 2, each with the label's embedding added, then two linear layers given the label."""

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__()
        sizes = scales(spec.shape)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(fine[0], coarse[0], 4, stride=2, padding=1) for fine, coarse in pairwise(sizes)
        )
        self.labels = nn.ModuleList(nn.Linear(spec.count, size[0], bias=False) for size in sizes[1:])
        channels, h, w = sizes[-1]
        self.hidden = nn.Linear(channels * h * w + spec.count, HIDDEN)
        self.posterior = nn.Linear(HIDDEN + spec.count, 2 * z_dim)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Mean and log-variance (n, 2 z_dim) of images (n, C, H, W) under conditions (n, K)."""
        x = images
        for convolution, label in zip(self.convolutions, self.labels, strict=True):
            x = F.relu(convolution(x) + per_channel(label(condition)))
        x = F.relu(self.hidden(torch.cat([x.flatten(1), condition], dim=1)))
        out: Tensor = self.posterior(torch.cat([x, condition], dim=1))
        return out


class Decoder(nn.Module):
    """The encoder in reverse: two linear layers, then transposed convolutions; the last yields the pixel logits."""

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__()
        sizes = scales(spec.shape)[::-1]
        self.coarsest = sizes[0]
        channels, h, w = self.coarsest
        self.latent = nn.Linear(z_dim + spec.count, HIDDEN)
        self.hidden = nn.Linear(HIDDEN, channels * h * w)
        self.labels = nn.ModuleList(nn.Linear(spec.count, size[0], bias=False) for size in sizes[:-1])
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(
                coarse[0], fine[0], 4, stride=2, padding=1, output_padding=(fine[1] % 2, fine[2] % 2)
            )
            for coarse, fine in pairwise(sizes)
        )

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """Pixel logits (n, C, H, W) of latents (n, z_dim) under conditions (n, K)."""
        logits: Tensor = self.convolutions[-1](self.scales(z, condition)[-1])
        return logits

    def scales(self, z: Tensor, condition: Tensor) -> list[Tensor]:
        """Activations of the hidden layers: (n, HIDDEN), then (n, channels, height, width) from coarse to fine."""
        first = F.relu(self.latent(torch.cat([z, condition], dim=1)))
        x = self.hidden(first).unflatten(1, self.coarsest)
        found = [first, F.relu(x + per_channel(self.labels[0](condition)))]
        for convolution, label in zip(self.convolutions[:-1], self.labels[1:], strict=True):
            found.append(F.relu(convolution(found[-1]) + per_channel(label(condition))))
        return found


class Conv(CVAE):
    """Kernels of 4 x 4 and stride 2; every use of the condition is linear and a layer's columns are the classes'."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__(spec, z_dim)
        self.encoder, self.decoder = Encoder(spec, z_dim), Decoder(spec, z_dim)

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """See `CVAE.encode`."""
        mean, log_var = self.encoder(images, condition).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR_RANGE)

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """See `CVAE.decode`."""
        logits: Tensor = self.decoder(z, condition)
        return logits

    def hidden(self, z: Tensor, condition: Tensor) -> Sequence[Tensor]:
        """The outputs of the decoder's ReLUs, flattened."""
        return [x.flatten(1) for x in self.decoder.scales(z, condition)]

    def last_layer(self) -> nn.Module:
        """See `CVAE.last_layer`."""
        return self.decoder.convolutions[-1]

    def label_layers(self) -> Sequence[nn.Linear]:
        """The embeddings of the label at every scale, and the linear layers that are given it."""
        e, d = self.encoder, self.decoder
        layers = (*e.labels, e.hidden, e.posterior, d.latent, *d.labels)
        return [layer for layer in layers if isinstance(layer, nn.Linear)]

    def units(self) -> Sequence[Units]:
        """The units behind the latent, then the channels of each scale."""
        d = self.decoder
        channels = d.coarsest[0]
        found = [Units((d.latent.weight, d.latent.bias), (d.hidden.weight.T,))]
        incoming = d.hidden.weight.unflatten(0, (channels, -1)), d.hidden.bias.unflatten(0, (channels, -1))
        for label, convolution in zip(d.labels, d.convolutions, strict=True):
            assert isinstance(label, nn.Linear)
            assert isinstance(convolution, nn.ConvTranspose2d)
            found.append(Units((*incoming, label.weight), (convolution.weight,)))
            assert convolution.bias is not None
            incoming = convolution.weight.transpose(0, 1), convolution.bias
        return found


NET = Conv
