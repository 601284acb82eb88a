"""scikit-learn's handwritten digits, for tests and demos: 1,797 images (8 x 8, 17 levels), bilinear to 28 x 28."""

from __future__ import annotations

import hashlib
from importlib.metadata import distribution
from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

SPEC = DataSpec("digits", tuple("0123456789"), (1, 28, 28))


def load(device: torch.device) -> Dataset:
    """All images on `device`; every fifth is a test image."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    # The file alone: importing scikit-learn takes longer than everything else here.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",")
    raw, targets = table[:, :-1].reshape(-1, 8, 8).astype("float32"), table[:, -1].astype("int64")
    md5 = hashlib.md5(raw.tobytes() + targets.tobytes(), usedforsecurity=False).hexdigest()
    small = torch.from_numpy(raw)[:, None] / 16
    images = F.interpolate(small, size=SPEC.shape[1:], mode="bilinear").to(device)
    labels = torch.from_numpy(targets).to(device)
    test = torch.arange(len(labels), device=device) % 5 == 0
    return Dataset(SPEC, md5, images[~test], labels[~test], images[test], labels[test])
