"""Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (d,) and unbiased covariance (d, d) of a feature set; float64, on the CPU."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Fit a Gaussian to features (n, d).

    Raises ValueError if there are fewer than two rows, or a value is not finite.
    """
    # MPS has no float64, and the matrices are small: the CPU serves every device.
    x = features.detach().cpu().double()
    if x.dim() != 2 or len(x) < 2:
        raise ValueError(f"features must be (n, d) with n >= 2, not {tuple(x.shape)}")
    if not bool(x.isfinite().all()):
        raise ValueError("features are not finite")
    mean = x.mean(dim=0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance of two Gaussians (Heusel et al., 2017, arXiv:1706.08500), 0 or more.

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    The trace of the root is that of (R C_b R)^(1/2) with R the symmetric root of C_a: a symmetric positive
    semi-definite product, so that real eigenvalues suffice and singular covariances do no harm. With finite
    samples the distance is biased upwards; compare only numbers from equally many samples.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ b.covariance @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return max(0.0, float(distance))
