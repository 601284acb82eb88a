"""Classifiers of 28x28 images: the judges that measure a generator, and the attackers that probe it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops.settings import CLASSES, PIXELS, Architecture


class Judge(nn.Module):
    """A classifier with a named feature layer.

    Attributes
    ----------
    features : (n, 1, 28, 28) -> (n, d), the penultimate layer; retained FID, precision and recall live there.
    head : (n, d) -> (n, 10) logits.
    """

    def __init__(self, features: nn.Module, width: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10) of images (n, 784) in [0, 1]."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def embed(self, images: Tensor) -> Tensor:
        """Features (n, d) of images (n, 784) in [0, 1]."""
        features: Tensor = self.features(images.view(-1, 1, 28, 28))
        return features

    def log_probs(self, images: Tensor) -> Tensor:
        """Log-probabilities (n, 10) of images (n, 784) in [0, 1]."""
        return F.log_softmax(self(images), dim=1)


def make_judge(architecture: Architecture) -> Judge:
    """An untrained judge."""
    match architecture:
        case "reference":
            # The paper's evaluation classifier.
            return Judge(
                nn.Sequential(
                    nn.Conv2d(1, 10, 5), nn.BatchNorm2d(10), nn.MaxPool2d(2), nn.ReLU(),
                    nn.Conv2d(10, 20, 5), nn.BatchNorm2d(20), nn.Dropout2d(0.2), nn.MaxPool2d(2), nn.ReLU(),
                    nn.Flatten(), nn.Linear(320, 50), nn.ReLU(),
                ),
                50,
            )  # fmt: skip
        case "wide":
            return Judge(
                nn.Sequential(
                    nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU(),
                    nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Flatten(), nn.Linear(32 * 49, 64), nn.BatchNorm1d(64), nn.ReLU(),
                ),
                64,
            )  # fmt: skip
        case "residual":
            return Judge(
                nn.Sequential(
                    nn.Conv2d(1, 24, 4, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
                    _Residual(24), nn.MaxPool2d(2), _Residual(24), nn.Flatten(), nn.Linear(24 * 49, 96), nn.ReLU(),
                ),
                96,
            )  # fmt: skip
        case "perceptron":
            return Judge(
                nn.Sequential(
                    nn.Flatten(), nn.Linear(PIXELS, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.3),
                    nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(),
                ),
                256,
            )  # fmt: skip


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
