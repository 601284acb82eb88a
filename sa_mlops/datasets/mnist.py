"""MNIST as `data.dvc` pins it: 60,000 training and 10,000 test images of handwritten digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

SPEC = DataSpec("mnist", tuple("0123456789"), (1, 28, 28))


def load(device: torch.device) -> Dataset:
    """Both splits on `device`. Raises DataError if the pinned files are missing or altered."""
    from torchvision.datasets import MNIST

    from sa_mlops.datasets.pin import DataError, ensure, project_root

    pin, _ = ensure(project_root())
    try:
        splits = [MNIST(str(pin.path), train=train, download=False) for train in (True, False)]
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{pin.path.name}/ cannot be read: {' '.join(str(error).split())}") from None
    (train_x, train_y), (test_x, test_y) = (
        (s.data[:, None].to(device) / 255, s.targets.to(device)) for s in splits
    )
    return Dataset(SPEC, pin.md5, train_x, train_y, test_x, test_y)
