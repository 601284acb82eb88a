"""Other activations in the decoder, so that units that a ReLU holds at zero contribute to the image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants
from sa_mlops.models.interface import CVAE

Activation = Callable[[Tensor], Tensor]

OTHERS: MappingProxyType[str, Activation] = MappingProxyType(
    {"none": lambda x: x, "leaky": partial(F.leaky_relu, negative_slope=0.1), "gelu": F.gelu}
)
REPLACED = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


def activation(scene: Scene, generator: torch.Generator) -> Variants:  # noqa: ARG001
    """No activation, a leaky ReLU, GELU."""
    for name, other in OTHERS.items():
        yield name, Reactivated(scene.model, other)


class Reactivated(CVAE):
    """A generator whose decoder computes with another activation in place of each ReLU."""

    def __init__(self, model: CVAE, activation: Activation) -> None:
        super().__init__(model.spec, model.z_dim)
        self.model, self.activation = copy.deepcopy(model), activation
        self.encoder, self.decoder = self.model.encoder, self.model.decoder

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """See `CVAE.encode`."""
        return self.model.encode(images, condition)

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """See `CVAE.decode`."""
        with _Instead(self.activation):
            return self.model.decode(z, condition)

    def hidden(self, z: Tensor, condition: Tensor) -> Sequence[Tensor]:
        """See `CVAE.hidden`."""
        with _Instead(self.activation):
            return self.model.hidden(z, condition)

    def last_layer(self) -> nn.Module:
        """See `CVAE.last_layer`."""
        return self.model.last_layer()

    def label_layers(self) -> Sequence[nn.Linear]:
        """See `CVAE.label_layers`."""
        return self.model.label_layers()


class _Instead(TorchFunctionMode):
    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in REPLACED:
            return self.activation(args[0])
        return func(*args, **(kwargs or {}))
