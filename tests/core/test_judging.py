"""Judges with hand-made eyes, on faded images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sa_mlops.core.judging import FADES, HALF, failures, judge_controls, judge_faded
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.classifiers import Judge

SPEC = DataSpec("dots", ("left", "middle", "right"), (1, 4, 4))
LABELS = torch.arange(60) % 3
BRIGHT = 0.8
IMAGES = torch.zeros(60, 16).scatter(1, LABELS[:, None], BRIGHT).view(60, 1, 4, 4)
"""A dot of its own for each class, on black."""


class Eyes(nn.Module):
    def __init__(self, sees: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.sees = sees

    def forward(self, images: Tensor) -> Tensor:
        return 20.0 * self.sees(images.flatten(1)[:, :3]).float()


def judge(sees: Callable[[Tensor], Tensor]) -> Judge:
    made = Judge("wide", SPEC, Eyes(sees), 3)
    with torch.no_grad():
        made.head.weight.copy_(torch.eye(3))
        made.head.bias.zero_()
    return made


@pytest.fixture
def blind() -> Judge:
    """Sees a dot at its true brightness alone."""
    return judge(lambda dots: (dots - BRIGHT).abs() < 0.05)


@pytest.fixture
def levelled() -> Judge:
    """Sees a dot that is white, as automatic levels make it."""
    return judge(lambda dots: dots > 0.95)


def test_a_judge_that_loses_faded_images_may_not_measure(blind: Judge) -> None:
    faded = judge_faded(blind, IMAGES, LABELS)
    assert faded["contrast_1"].either == 1
    reasons = failures(1.0, judge_controls(blind, IMAGES)[:1], faded)
    assert "it recognises 0.0% of real images at contrast 0.5 (at least 97.0%)" in reasons
    assert "it recognises 0.0% of real images at half brightness (at least 97.0%)" in reasons
    assert not any("0.02" in reason for reason in reasons)


def test_either_view_is_enough(levelled: Judge) -> None:
    faded = judge_faded(levelled, IMAGES, LABELS)
    assert all(faded[fade].as_is == 0 for fade in FADES)
    assert all(faded[fade].either == 1 for fade in (*FADES[:-2], HALF))
    assert failures(1.0, judge_controls(levelled, IMAGES)[:1], faded) == ()


def test_a_judge_that_sees_a_class_in_shuffled_pixels_is_not_uncertain(blind: Judge) -> None:
    shuffled = judge_controls(blind, IMAGES)[-1]
    assert shuffled.name == "shuffled"
    assert not shuffled.uncertain
