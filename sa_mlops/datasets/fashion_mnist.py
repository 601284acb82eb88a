"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; MIT licence), from Debian's package `dataset-fashion-mnist`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

SPEC = DataSpec(
    "fashion-mnist",
    ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    (1, 28, 28),
)
PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("/usr/share/datasets/fashion-mnist")
MD5S = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
"""Of the unpacked files, in the order of `idx.FILES`."""


def load(device: torch.device) -> Dataset:
    """60,000 training and 10,000 test images. Raises DataError if the package is missing or its files are altered."""
    from sa_mlops.datasets import idx
    from sa_mlops.datasets.pin import DataError

    if not FOLDER.is_dir():
        raise DataError(
            f"fashion-mnist is not installed: `apt-get install {PACKAGE}` puts it into {FOLDER}; elsewhere, "
            "`sa-mlops data add torchvision:FashionMNIST --name fashion` downloads it"
        )
    paths = [FOLDER / f"{name}.gz" for name in idx.FILES]
    try:
        train_x, train_y, test_x, test_y = (idx.read(p, md5) for p, md5 in zip(paths, MD5S, strict=True))
    except idx.IdxError as error:
        raise DataError(f"{error}; `apt-get install --reinstall {PACKAGE}`") from None
    md5 = hashlib.md5("".join(MD5S).encode(), usedforsecurity=False).hexdigest()
    return Dataset(SPEC, md5, *idx.split(train_x, train_y, device), *idx.split(test_x, test_y, device))
