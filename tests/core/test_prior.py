"""The prior of the latents."""

from __future__ import annotations

import pytest
import torch

from sa_mlops.core.prior import shell


@pytest.mark.parametrize("z_dim", [2, 8, 64])
def test_shell_holds_98_percent_of_the_prior(z_dim: int) -> None:
    norm = torch.randn(50_000, z_dim, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    low, high = shell(z_dim)
    assert ((norm > low) & (norm < high)).float().mean().item() == pytest.approx(0.98, abs=0.01)
