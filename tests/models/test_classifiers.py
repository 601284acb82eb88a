"""The classifiers: shapes, named features, probabilities."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.classifiers import Judge, make_judge
from sa_mlops.settings import Architecture

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
WIDTHS = {"reference": 50, "wide": 64, "residual": 96, "perceptron": 256}


@pytest.fixture(params=ARCHITECTURES)
def judge(request: pytest.FixtureRequest) -> Judge:
    torch.manual_seed(0)
    return make_judge(request.param, SPEC).eval()


def test_log_probs_are_the_softmax_of_the_logits(judge: Judge) -> None:
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(judge.log_probs(images).exp(), judge(images).softmax(dim=1))


def test_extreme_images_give_finite_log_probabilities(judge: Judge) -> None:
    assert bool(judge.log_probs(1e4 * torch.rand(3, 1, 28, 28)).isfinite().all())


def test_the_head_reads_the_features(judge: Judge) -> None:
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(judge(images), judge.head(judge.embed(images)))


def test_an_image_s_answer_does_not_depend_on_its_neighbours(judge: Judge) -> None:
    images = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(judge(images)[:1], judge(images[:1]), rtol=1e-4, atol=1e-5)


def test_images_that_are_parts_of_a_larger_tensor_are_read_right(judge: Judge) -> None:
    parts = torch.rand(28, 28, 1, 3).permute(3, 2, 0, 1)
    torch.testing.assert_close(judge(parts), judge(parts.contiguous()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_have_the_width_of_their_net(architecture: Architecture) -> None:
    assert make_judge(architecture, SPEC).eval().embed(torch.rand(2, 1, 28, 28)).shape == (
        2,
        WIDTHS[architecture],
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_trained(architecture: Architecture) -> None:
    judge = make_judge(architecture, SPEC)
    judge(torch.rand(8, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in judge.parameters())
