"""The two views in which generated images are judged."""

from __future__ import annotations

import pytest
import torch

from sa_mlops.core.views import FLAT, autolevels


@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.1, 0.02])
def test_a_faded_image_comes_back(contrast: float) -> None:
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 0.0, 1.0
    for faded in (0.5 + contrast * (images - 0.5), contrast * images):
        assert torch.allclose(autolevels(faded), images, atol=1e-4)


def test_an_image_of_one_level_stays_as_it_is() -> None:
    ripple = FLAT * 0.9 * torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(autolevels(0.5 + ripple), 0.5 + ripple)


def test_each_image_has_its_own_levels() -> None:
    pair = torch.stack([torch.linspace(0, 1, 16), torch.linspace(0.4, 0.6, 16)]).view(2, 1, 4, 4)
    assert torch.allclose(autolevels(pair)[0], autolevels(pair)[1], atol=1e-5)
