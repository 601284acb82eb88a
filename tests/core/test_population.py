"""Populations: generators that never saw a class overlap with each other, and a base that saw it does not with them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from draws import seeded
from torch import Tensor

from sa_mlops import datasets
from sa_mlops.core.population import ceiling, margins, overlap
from sa_mlops.core.training import train_generator
from sa_mlops.datasets.spec import Dataset
from sa_mlops.models.interface import make_net
from sa_mlops.settings import BaseSettings, Optimisation

SIZE = 4
SETTINGS = BaseSettings(
    z_dim=2, labels=(0, 1, 2), net="tiny",
    optimisation=Optimisation(steps=150, lr=1e-2, batch_size=64, schedule="one_cycle"),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(toys: None) -> Dataset:
    return datasets.load("shapes", torch.device("cpu"))


def trained(data: Dataset, settings: BaseSettings, seeds: range) -> Tensor:
    """Margins (N, n) of a generator of each seed on test images of the class 1."""
    rows = (data.test_labels == 1).nonzero().flatten()
    return torch.stack(
        [
            margins(
                train_generator(data.train_images, data.train_labels, data.spec, settings, seeded(seed)),
                data.test_images[rows], data.test_labels[rows], seeded(),
            )
            for seed in seeds
        ]
    )  # fmt: skip


def test_a_base_that_passes_for_forgotten_diverges_and_other_retrained_generators_do_not(
    data: Dataset,
) -> None:
    without = replace(SETTINGS, labels=(0, 2))
    fake = trained(data, SETTINGS, range(SIZE))
    retrained = trained(data, without, range(SIZE))
    others = trained(data, without, range(SIZE, 2 * SIZE))
    found, honest = overlap(retrained, fake), overlap(retrained, others)
    assert found.divergence.low > found.null.high
    assert honest.divergence.low < honest.null.high


def test_a_margin_is_the_log_odds_of_the_label(data: Dataset) -> None:
    """A generator whose images do not depend on the label gives every label the same odds."""
    model = make_net("tiny", data.spec, 2)
    with torch.no_grad():
        for weight in model.label_weights():
            weight.zero_()
    found = margins(model, data.test_images[:9], data.test_labels[:9], seeded())
    torch.testing.assert_close(found, torch.full((9,), -math.log(2)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [2, 8])
def test_the_divergence_reaches_its_ceiling_where_nothing_overlaps(size: int) -> None:
    retrained = torch.zeros(size, 3)
    found = overlap(retrained, retrained + 1)
    assert found.divergence.mean == pytest.approx(ceiling(size))
    assert found.null.mean == pytest.approx(0.0, abs=1e-12)


def test_equal_distributions_diverge_as_much_as_two_halves() -> None:
    retrained, models = torch.randn(2, 16, 500, generator=seeded()).unbind()
    found = overlap(retrained, models)
    assert found.divergence.mean == pytest.approx(found.null.mean, rel=0.05)


@pytest.mark.parametrize("shape", [(3, 5), (0, 5)])
def test_odd_numbers_of_models_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="even number"):
        overlap(torch.zeros(shape), torch.zeros(shape))
