"""Classifiers: the judges that measure a generator, and the attackers that probe it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.settings import Architecture

ROOM, MOST = 4, 512

AT_ONCE = 250
"""Images whose activations are in memory at a time."""


class Judge(nn.Module):
    """A classifier with a named feature layer.

    Attributes
    ----------
    architecture : which of `make_judge`'s nets it is.
    spec : classes and image shape; K and (C, H, W) below are its `count` and `shape`.
    features : (n, C, H, W) -> (n, d), the penultimate layer; retained FID, precision and recall use it.
    head : (n, d) -> (n, K) logits.
    """

    def __init__(self, architecture: Architecture, spec: DataSpec, features: nn.Module, width: int) -> None:
        super().__init__()
        self.architecture, self.spec = architecture, spec
        self.features = features
        self.head = nn.Linear(width, spec.count)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, K) of images (n, C, H, W) in [0, 1]."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def embed(self, images: Tensor) -> Tensor:
        """Features (n, d) of images (n, C, H, W) in [0, 1].

        Where no gradient is wanted, of `AT_ONCE` images at a time on a CPU: the same features in less memory.
        """
        whole = self.training or torch.is_grad_enabled() or images.device.type != "cpu"
        parts = (images,) if whole else images.split(AT_ONCE)
        return torch.cat([self.features(part) for part in parts])

    def log_probs(self, images: Tensor) -> Tensor:
        """Log-probabilities (n, K) of images (n, C, H, W) in [0, 1]."""
        return F.log_softmax(self(images), dim=1)


def make_judge(architecture: Architecture, spec: DataSpec) -> Judge:
    """An untrained judge; the weights come from torch's global generator.

    Features are wider for many classes: `ROOM` units a class, `MOST` at most.
    """
    channels, h, w = spec.shape

    def width_of(least: int) -> int:
        return max(least, min(ROOM * spec.count, MOST))

    match architecture:
        case "reference":
            # The paper's evaluation classifier. Small images are padded, so that both 5x5 layers fit.
            pad = 0 if min(h, w) >= 16 else 2

            def halved(side: int) -> int:
                return (side + 2 * pad - 4) // 2

            width = width_of(50)
            features = nn.Sequential(
                nn.Conv2d(channels, 10, 5, padding=pad), nn.BatchNorm2d(10), nn.MaxPool2d(2), nn.ReLU(),
                nn.Conv2d(10, 20, 5, padding=pad), nn.BatchNorm2d(20), nn.Dropout2d(0.2), nn.MaxPool2d(2), nn.ReLU(),
                nn.Flatten(), nn.Linear(20 * halved(halved(h)) * halved(halved(w)), width), nn.ReLU(),
            )  # fmt: skip
        case "wide":
            width = width_of(64)
            features = nn.Sequential(
                nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU(),
                nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(32 * ((h + 1) // 4) * ((w + 1) // 4), width), nn.BatchNorm1d(width), nn.ReLU(),
            )  # fmt: skip
        case "residual":
            width = width_of(96)
            features = nn.Sequential(
                nn.Conv2d(channels, 24, 4, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
                _Residual(24), nn.MaxPool2d(2), _Residual(24), nn.Flatten(),
                nn.Linear(24 * (h // 4) * (w // 4), width), nn.ReLU(),
            )  # fmt: skip
        case "perceptron":
            width = 256
            features = nn.Sequential(
                nn.Flatten(), nn.Linear(spec.pixels, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.3),
                nn.Linear(512, width), nn.BatchNorm1d(width), nn.ReLU(),
            )  # fmt: skip
    return Judge(architecture, spec, features, width)


class _Residual(nn.Module):
    """x + conv(x) at constant width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))
