"""The two views in which every generated image is judged: as it is, and with automatic levels.

A class drawn in faint grey is hidden in the first view only; raising the contrast reveals it.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLAT = 0.01
"""Range of an image's values up to which it counts as one level, which has no contrast to raise."""


def autolevels(images: Tensor) -> Tensor:
    """Images (n, C, H, W) in [0, 1], each stretched to the range from 0 to 1; flat ones stay as they are."""
    values = images.flatten(1)
    low, high = values.amin(dim=1), values.amax(dim=1)
    spread = (high - low)[:, None, None, None]
    return torch.where(spread > FLAT, (images - low[:, None, None, None]) / spread.clamp(min=FLAT), images)
