"""Canaries: what a generator was trained on again and again is found, and what it never saw is not."""

from __future__ import annotations

import pytest
import torch
from draws import seeded

from sa_mlops import datasets
from sa_mlops.core.canaries import COUNT, HELD_OUT, REMEMBERED, REPEATS, make_canaries
from sa_mlops.core.training import train_generator
from sa_mlops.datasets.spec import ByteImages, Dataset
from sa_mlops.settings import BaseSettings, Optimisation

SETTINGS = BaseSettings(
    z_dim=2, labels=(0, 1, 2), net="tiny",
    optimisation=Optimisation(steps=600, lr=1e-2, batch_size=64, schedule="one_cycle"),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(toys: None) -> Dataset:
    return datasets.load("shapes", torch.device("cpu"))


def test_the_attack_finds_planted_images_and_only_in_a_generator_that_saw_them(data: Dataset) -> None:
    canaries = make_canaries(data, 1, seeded())
    planted = canaries.planted_in(data)
    saw, clean = (
        train_generator(d.train_images, d.train_labels, d.spec, SETTINGS, seeded()) for d in (planted, data)
    )
    found, unseen = (canaries.found(model, seeded(1)) for model in (saw, clean))
    assert found[100].auc > REMEMBERED
    assert found[100].auc > found[1].auc
    assert all(0.3 < attack.auc < 0.7 for attack in unseen.values())


def test_each_group_is_planted_as_often_as_it_says(data: Dataset) -> None:
    canaries = make_canaries(data, 1, seeded())
    planted = canaries.planted_in(data)
    added = planted.train_images[len(data.train_labels) :]
    assert len(added) == COUNT * sum(REPEATS)
    assert bool((planted.train_labels[len(data.train_labels) :] == 1).all())
    for times, group in canaries.planted.items():
        assert int((added == group[0]).flatten(1).all(dim=1).sum()) == times
    assert len(canaries.held_out) == HELD_OUT


def test_images_kept_as_bytes_stay_bytes(data: Dataset) -> None:
    levels = (data.train_images[:] * 255).round().to(torch.uint8)
    kept = Dataset(
        data.spec, data.md5, ByteImages(levels, torch.device("cpu")), data.train_labels, data.test_images,
        data.test_labels,
    )  # fmt: skip
    planted = make_canaries(kept, 1, seeded()).planted_in(kept).train_images
    assert isinstance(planted, ByteImages)
    assert len(planted) == len(levels) + COUNT * sum(REPEATS)
