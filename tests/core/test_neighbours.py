"""The classes nearest to a class, by a judge's confusion and feature distances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sa_mlops.core.probes.neighbours import neighbours
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.classifiers import Judge


class Reader(Judge):
    """Features are the two leftmost pixels of an image; each class has its place among them."""

    def __init__(self, places: Tensor) -> None:
        spec = DataSpec("places", tuple("abcdefgh"[: len(places)]), (1, 4, 4))
        super().__init__("wide", spec, nn.Identity(), 2)
        self.places = places

    def embed(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :2]

    def forward(self, images: Tensor) -> Tensor:
        return -10 * torch.cdist(self.embed(images), self.places).square()


def drawn(places: Tensor) -> tuple[Tensor, Tensor]:
    images = torch.zeros(len(places), 1, 4, 4)
    images[:, 0, 0, :2] = places
    return images.repeat(3, 1, 1, 1), torch.arange(len(places)).repeat(3)


PLACES = torch.tensor([[0.0, 0.0], [0.9, 0.9], [0.1, 0.2], [0.4, 0.3]])


def test_the_nearest_comes_first() -> None:
    assert neighbours(Reader(PLACES), *drawn(PLACES), 0) == (2, 3)
    assert neighbours(Reader(PLACES), *drawn(PLACES), 1) == (3, 2)


def test_two_classes_are_each_other_s_only_neighbour() -> None:
    assert neighbours(Reader(PLACES[:2]), *drawn(PLACES[:2]), 1) == (0, 0)


def test_a_class_without_images_is_no_neighbour() -> None:
    images, labels = drawn(PLACES)
    assert neighbours(Reader(PLACES), images[labels != 2], labels[labels != 2], 0) == (3, 1)


@pytest.mark.parametrize("kept", [[1, 2], [0]], ids=["no target", "no other"])
def test_missing_images_are_refused(kept: list[int]) -> None:
    images, labels = drawn(PLACES)
    there = torch.isin(labels, torch.tensor(kept))
    with pytest.raises(ValueError, match="no real image of class 0 or of any other class"):
        neighbours(Reader(PLACES), images[there], labels[there], 0)
