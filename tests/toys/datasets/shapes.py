"""A data set in one file: three tinted shapes, 3 x 8 x 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

SPEC = DataSpec("shapes", ("bar", "disc", "Check mark"), (3, 8, 12))


def load(device: torch.device) -> Dataset:
    """600 training and 150 test images, classes in turns."""
    import torch

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(750) % SPEC.count
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    drawn = torch.stack([(y - 3).abs() < 2, (y - 4) ** 2 + (x - 6) ** 2 < 9, (y - x).abs() < 2]).float()
    tint = 0.5 + 0.5 * torch.rand(750, 3, 1, 1, generator=generator)
    images = (tint * drawn[labels][:, None]).to(device)
    labels = labels.to(device)
    return Dataset(SPEC, "0" * 32, images[:600], labels[:600], images[600:], labels[600:])
