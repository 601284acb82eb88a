"""The conditional VAE as the rest of the code uses it; each module of `models` with a `NET` implements it."""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops import models
from sa_mlops.datasets.spec import DataSpec


class Units(NamedTuple):
    """The weights of a hidden layer of the decoder, unit by unit: views whose first dimension is the unit.

    A kernel's unit is its channel. A unit's incoming weights divided by a number above 0, and its outgoing ones
    multiplied by it, draw the same images, as do units in another order: the activations are ReLUs.

    Attributes
    ----------
    incoming : weights and biases.
    outgoing : weights of the next layer.
    """

    incoming: tuple[Tensor, ...]
    outgoing: tuple[Tensor, ...]


LOG_VAR_RANGE = (-30.0, 20.0)
"""Bounds of the log-variance, so that its exponential stays finite. A healthy model never comes near them."""


class CVAE(nn.Module, ABC):
    """A conditional variational autoencoder with Bernoulli pixels (Sohn et al., 2015).

    Attributes
    ----------
    net : name of the module that defines it.
    spec : classes and image shape; K and (C, H, W) below are its `count` and `shape`.
    z_dim : latent size, 1 or more.
    encoder : the module whose parameters `encode` uses.
    decoder : the module whose parameters `decode` uses; its last layer yields the pixel logits, linearly.
    """

    net: str
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, spec: DataSpec, z_dim: int) -> None:
        super().__init__()
        self.net = type(self).__module__.rpartition(".")[2]
        self.spec, self.z_dim = spec, z_dim

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self.spec.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, (C, H, W)."""
        return self.spec.shape

    @abstractmethod
    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of the latent.

        Parameters
        ----------
        images : (n, C, H, W) in [0, 1].
        condition : (n, K) one-hot, or any weights that an attacker chooses.

        Returns
        -------
        mean, log_var : (n, z_dim) each, log_var within `LOG_VAR_RANGE`.
        """

    @abstractmethod
    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """Pixel logits (n, C, H, W) of latents (n, z_dim) under conditions (n, K)."""

    @abstractmethod
    def hidden(self, z: Tensor, condition: Tensor) -> Sequence[Tensor]:
        """Activations (n, width) of the decoder's hidden layers, from the latent on."""

    @abstractmethod
    def last_layer(self) -> nn.Module:
        """The layer that yields the pixel logits; they are linear in its parameters."""

    @abstractmethod
    def label_layers(self) -> Sequence[nn.Linear]:
        """The layers of encoder and decoder that the condition enters: it is the last K of their inputs."""

    def units(self) -> Sequence[Units]:
        """The hidden layers of `hidden`, in their order; empty for a net that does not tell."""
        return ()

    def label_weights(self, part: nn.Module | None = None) -> list[Tensor]:
        """The weights that multiply the condition: one view (out, K) a layer, column c for class c.

        Writing into a view, without gradients, changes the net.

        Parameters
        ----------
        part : only layers inside this module, such as `decoder`.
        """
        inside = set((self if part is None else part).modules())
        return [layer.weight[:, -self.classes :] for layer in self.label_layers() if layer in inside]

    def sample(self, z: Tensor, labels: Tensor) -> Tensor:
        """Mean images (n, C, H, W) in [0, 1] of latents (n, z_dim) and class indices (n,) int64."""
        return torch.sigmoid(self.decode(z, one_hot(labels, self.classes)))

    def raised(self, contrast: float) -> CVAE:
        """A copy whose pixel logits are multiplied by `contrast`; grey stays grey, faint shapes become visible."""
        copied = copy.deepcopy(self)
        with torch.no_grad():
            for parameter in copied.last_layer().parameters():
                parameter.mul_(contrast)
        return copied


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(n,) int64 class indices -> (n, classes) float32."""
    return F.one_hot(labels, classes).to(torch.float32)


@torch.no_grad()
def reorder(layer: Units, order: Tensor, scale: Tensor) -> None:
    """Move a layer's units and rescale them, in place; the net draws the same images.

    Parameters
    ----------
    order : (n,) int64, unit `order[i]` moves to place i.
    scale : (n,) above 0, of the places: incoming weights are divided by it, outgoing ones multiplied.
    """
    for tensors, factor in ((layer.incoming, 1 / scale), (layer.outgoing, scale)):
        for weight in tensors:
            weight.copy_(weight[order] * factor.view(-1, *[1] * (weight.dim() - 1)))


def make_net(net: str, spec: DataSpec, z_dim: int) -> CVAE:
    """An untrained net by name; the weights come from torch's global generator.

    Raises ValueError if there is no such net.
    """
    if net not in models.nets():
        raise ValueError(f"no net {net[:40]!r}; there are {', '.join(models.nets())}")
    made: CVAE = importlib.import_module(f"{models.__name__}.{net}").NET(spec, z_dim)
    return made
