"""The standard normal prior of the latents."""

from __future__ import annotations

import math
from statistics import NormalDist


def shell(z_dim: int, tail: float = 0.01) -> tuple[float, float]:
    """Norms between which N(0, I) in `z_dim` dimensions has all but a tail at either side.

    Quantiles of the chi distribution by Wilson and Hilferty (1931).
    """

    def quantile(level: float) -> float:
        spread = 2 / (9 * z_dim)
        root = 1 - spread + NormalDist().inv_cdf(level) * math.sqrt(spread)
        return math.sqrt(z_dim * max(root, 0.0) ** 3)

    return quantile(tail), quantile(1 - tail)
