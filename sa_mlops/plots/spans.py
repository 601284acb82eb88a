"""A mean with its range."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A mean over seeds, and the least and the largest of them."""

    mean: float
    low: float
    high: float
