"""Images that are no digits: what a calibrated judge must answer with "I cannot tell".

None of them is made by a generator, so no generator under test has taught the judge anything about itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def outliers(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` outliers (count, 784) in [0, 1], in equal parts of seven kinds.

    Uniform noise, Gaussian noise, grey levels (with a little noise), heavily blurred digits, mixtures of
    four digits in equal parts, digits whose patches are shuffled, and digits faded into noise.

    Parameters
    ----------
    images : (n, 784) in [0, 1], the pool of digits to distort.
    """
    device = images.device
    kinds = (_uniform, _gaussian, _grey, _blurred, _mixed, _shuffled, _noisy)
    sizes = [count // len(kinds) + (i < count % len(kinds)) for i in range(len(kinds))]

    parts = []
    for kind, size in zip(kinds, sizes, strict=True):
        if size:
            rows = torch.randint(len(images), (size,), generator=generator, device=device)
            parts.append(kind(images[rows], generator))
    return torch.cat(parts)


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _uniform(digits: Tensor, generator: torch.Generator) -> Tensor:
    """U[a, b] pixels, half of them U[0, 1]."""
    low, high = 0.5 * _rand((2, len(digits), 1), generator)
    wide = _rand((len(digits), 1), generator) < 0.5
    low, high = torch.where(wide, 0.0, low), torch.where(wide, 1.0, 1 - high)
    return low + (high - low) * _rand(tuple(digits.shape), generator)


def _gaussian(digits: Tensor, generator: torch.Generator) -> Tensor:
    """N(m, s^2) pixels clipped to [0, 1]; m in [0, 1], s in [0.05, 0.5]."""
    mean = _rand((len(digits), 1), generator)
    scale = 0.05 + 0.45 * _rand((len(digits), 1), generator)
    normal = torch.randn(tuple(digits.shape), generator=generator, device=generator.device)
    return (mean + scale * normal).clamp(0, 1)


def _grey(digits: Tensor, generator: torch.Generator) -> Tensor:
    """One level in [0, 1] for all pixels, with up to 0.05 of noise on it."""
    level = _rand((len(digits), 1), generator)
    ripple = 0.1 * _rand((len(digits), 1), generator) * (_rand(tuple(digits.shape), generator) - 0.5)
    return (level + ripple).clamp(0, 1)


def _blurred(digits: Tensor, _: torch.Generator) -> Tensor:
    """Digits under three 9x9 box filters: a blob is left."""
    blurred = digits.view(-1, 1, 28, 28)
    for _pass in range(3):
        blurred = F.avg_pool2d(blurred, 9, stride=1, padding=4)
    return blurred.reshape(len(digits), -1)


def _mixed(digits: Tensor, _: torch.Generator) -> Tensor:
    """Mixtures of four digits in equal parts."""
    return torch.stack([digits.roll(i, dims=0) for i in range(4)]).mean(dim=0)


def _shuffled(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Digits cut into sixteen 7x7 patches, laid out in one random order."""
    order = torch.randperm(16, generator=generator, device=generator.device)
    patches = digits.view(-1, 4, 7, 4, 7).permute(0, 1, 3, 2, 4).reshape(-1, 16, 7, 7)[:, order]
    return patches.view(-1, 4, 4, 7, 7).permute(0, 1, 3, 2, 4).reshape(len(digits), -1)


def _noisy(digits: Tensor, generator: torch.Generator) -> Tensor:
    """A digit at a tenth to a quarter of its contrast under full-range noise."""
    share = 0.1 + 0.15 * _rand((len(digits), 1), generator)
    return share * digits + (1 - share) * _rand(tuple(digits.shape), generator)
