"""Images that show no class: a calibrated judge must answer them with a uniform distribution.

No generator makes them, so the judge learns nothing about a generator under test.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.datasets.spec import Images


def outliers(images: Images, count: int, generator: torch.Generator) -> Tensor:
    """`count` outliers (count, C, H, W) in [0, 1], in equal parts of seven kinds, of ten for colour images.

    Uniform noise, Gaussian noise, grey levels (with a little noise), heavily blurred images, mixtures of four images
    in equal parts, images whose patches are shuffled, and images faded into noise; in colour also flat colours, noise
    without colour and noise of one hue.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1], the pool of images to distort.
    """
    device = images.device
    kinds = kinds_of(images.shape[1])
    sizes = [count // len(kinds) + (i < count % len(kinds)) for i in range(len(kinds))]

    parts = []
    for kind, size in zip(kinds, sizes, strict=True):
        if size:
            rows = torch.randint(len(images), (size,), generator=generator, device=device)
            parts.append(kind(images[rows], generator))
    return torch.cat(parts)


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """U[a, b] pixels; U[0, 1] in half of the images."""
    low, high = 0.5 * _rand((2, len(images), 1, 1, 1), generator)
    wide = _rand((len(images), 1, 1, 1), generator) < 0.5
    low, high = torch.where(wide, 0.0, low), torch.where(wide, 1.0, 1 - high)
    return low + (high - low) * _rand(tuple(images.shape), generator)


def _gaussian(images: Tensor, generator: torch.Generator) -> Tensor:
    """N(m, s^2) pixels clipped to [0, 1]; m in [0, 1], s in [0.05, 0.5]."""
    mean = _rand((len(images), 1, 1, 1), generator)
    scale = 0.05 + 0.45 * _rand((len(images), 1, 1, 1), generator)
    normal = torch.randn(tuple(images.shape), generator=generator, device=generator.device)
    return (mean + scale * normal).clamp(0, 1)


def _grey(images: Tensor, generator: torch.Generator) -> Tensor:
    """One level in [0, 1] for all pixels, with up to 0.05 of uniform noise."""
    level = _rand((len(images), 1, 1, 1), generator)
    ripple = 0.1 * _rand((len(images), 1, 1, 1), generator) * (_rand(tuple(images.shape), generator) - 0.5)
    return (level + ripple).clamp(0, 1)


def _blurred(images: Tensor, _: torch.Generator) -> Tensor:
    """Images under three box filters of about a third of their size: a blob is left."""
    sizes = [2 * (9 * side // 56) + 1 for side in images.shape[2:]]
    for _pass in range(3):
        images = F.avg_pool2d(images, sizes, stride=1, padding=[size // 2 for size in sizes])
    return images


def _mixed(images: Tensor, _: torch.Generator) -> Tensor:
    """Mixtures of four images in equal parts."""
    return torch.stack([images.roll(i, dims=0) for i in range(4)]).mean(dim=0)


def _shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images cut into 4 x 4 patches, laid out in one random order; rows and columns left over stay in place."""
    order = torch.randperm(16, generator=generator, device=generator.device)
    n, channels, h, w = len(images), images.shape[1], images.shape[2] // 4, images.shape[3] // 4
    cut = images[..., : 4 * h, : 4 * w].reshape(n, channels, 4, h, 4, w)
    patches = cut.transpose(3, 4).reshape(n, channels, 16, h, w)[:, :, order]
    out = images.clone()
    out[..., : 4 * h, : 4 * w] = (
        patches.reshape(n, channels, 4, 4, h, w).transpose(3, 4).reshape(n, channels, 4 * h, 4 * w)
    )
    return out


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """An image at a tenth to a quarter of its contrast under full-range noise."""
    share = 0.1 + 0.15 * _rand((len(images), 1, 1, 1), generator)
    return share * images + (1 - share) * _rand(tuple(images.shape), generator)


def _colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """One colour for all pixels, with up to 0.05 of uniform noise."""
    level = _rand((*images.shape[:2], 1, 1), generator)
    ripple = 0.1 * _rand((len(images), 1, 1, 1), generator) * (_rand(tuple(images.shape), generator) - 0.5)
    return (level + ripple).clamp(0, 1)


def _grey_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """U[0, 1] pixels, equal in all channels."""
    return _rand((len(images), 1, *images.shape[2:]), generator).expand_as(images)


def _tinted_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """U[0, 1] pixels, equal in all channels, times a colour."""
    tint = _rand((*images.shape[:2], 1, 1), generator)
    return tint * _rand((len(images), 1, *images.shape[2:]), generator)


Kind = Callable[[Tensor, torch.Generator], Tensor]
KINDS: tuple[Kind, ...] = (_uniform, _gaussian, _grey, _blurred, _mixed, _shuffled, _noisy)
COLOUR_KINDS: tuple[Kind, ...] = (_colour, _grey_noise, _tinted_noise)


def kinds_of(channels: int) -> tuple[Kind, ...]:
    """The kinds of outliers of images with so many channels."""
    return KINDS + (COLOUR_KINDS if channels > 1 else ())
