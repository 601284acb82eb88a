"""MNIST as `data.dvc` pins it: 60,000 training and 10,000 test images of handwritten digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

SPEC = DataSpec("mnist", tuple("0123456789"), (1, 28, 28))


def load(device: torch.device) -> Dataset:
    """Both splits on `device`. Raises DataError if the pinned files are missing or altered."""
    from sa_mlops.datasets import idx
    from sa_mlops.datasets.pin import DataError, ensure, project_root

    pin, _ = ensure(project_root())
    try:
        train_x, train_y, test_x, test_y = (idx.read(pin.path / "MNIST" / "raw" / name) for name in idx.FILES)
    except idx.IdxError as error:
        raise DataError(f"{pin.path.name}/ cannot be read: {error}") from None
    return Dataset(SPEC, pin.md5, *idx.split(train_x, train_y, device), *idx.split(test_x, test_y, device))
