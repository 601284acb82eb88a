"""The weights of the condition, which methods and controls edit, are all of them on every net."""

from __future__ import annotations

import pytest
import torch

from sa_mlops import models
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.interface import CVAE, make_net, one_hot


@pytest.fixture(params=models.nets())
def net(request: pytest.FixtureRequest) -> CVAE:
    torch.manual_seed(0)
    return make_net(request.param, SPEC, 2).requires_grad_(False)


@torch.no_grad()
def answers(net: CVAE, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of the encoder and of the decoder at equal images and latents."""
    return net.encode(torch.ones(len(condition), *net.shape), condition)[0], net.decode(
        torch.ones(len(condition), 2), condition
    )


def test_without_them_the_condition_has_no_effect(net: CVAE) -> None:
    for weights in net.label_weights():
        assert weights.shape[1] == 10
        weights.zero_()
    for out in answers(net, torch.eye(10)):
        assert torch.allclose(out, out[:1].expand_as(out), atol=1e-6)


def test_a_column_belongs_to_its_class_alone(net: CVAE) -> None:
    labels = one_hot(torch.tensor([3, 4]), 10)
    before = answers(net, labels)
    for weights in net.label_weights(net.decoder):
        weights[:, 3] += 1
    after = answers(net, labels)
    assert torch.equal(before[0], after[0]), "the encoder is as it was"
    assert torch.equal(before[1][1], after[1][1])
    assert not torch.equal(before[1][0], after[1][0])
