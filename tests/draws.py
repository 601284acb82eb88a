"""Random numbers and reports that tests of training loops share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def seeded(seed: int = 0) -> torch.Generator:
    """A source of equal numbers for equal seeds."""
    return torch.Generator().manual_seed(seed)


class Recorder:
    """A report that keeps the terms of every step."""

    def __init__(self) -> None:
        self.terms: list[dict[str, float]] = []

    def __call__(self, step: int, terms: Mapping[str, Tensor]) -> None:
        self.terms.append({name: float(value) for name, value in terms.items()})
