"""The conditional VAE: its size, its shapes, its ranges."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch.nn import Linear

from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.interface import CVAE, LOG_VAR_RANGE, one_hot
from sa_mlops.models.mlp import MLP


@pytest.fixture
def net() -> MLP:
    torch.manual_seed(0)
    return MLP(SPEC, 8)


def test_layers_have_the_reference_s_widths() -> None:
    shapes = {name: tuple(p.shape) for name, p in MLP(SPEC, 8).named_parameters() if name.endswith("weight")}
    assert list(shapes.values()) == [(512, 794), (256, 512), (16, 256), (256, 18), (512, 256), (784, 512)]


class TestConditions:
    def test_one_hot_marks_the_class(self) -> None:
        assert one_hot(torch.tensor([0, 9]), 10).argmax(dim=1).tolist() == [0, 9]

    @pytest.mark.parametrize("label", [-1, 10])
    def test_a_label_that_is_no_class_is_refused(self, label: int) -> None:
        with pytest.raises(RuntimeError):
            one_hot(torch.tensor([label]), 10)

    def test_the_class_reaches_the_image(self, net: CVAE) -> None:
        a, b = net.sample(torch.zeros(2, 8), torch.tensor([3, 4]))
        assert not torch.equal(a, b)

    def test_weights_that_are_no_class_are_decoded_too(self, net: CVAE) -> None:
        assert bool(net.decode(torch.zeros(1, 8), torch.full((1, 10), 0.1)).isfinite().all())


class TestRanges:
    def test_samples_are_the_decoder_s_means(self, net: CVAE) -> None:
        z, labels = torch.randn(4, 8), torch.arange(4)
        torch.testing.assert_close(net.sample(z, labels), net.decode(z, one_hot(labels, 10)).sigmoid())

    @pytest.mark.parametrize("extreme", [-1e6, 1e6])
    def test_the_log_variance_is_bounded(self, net: MLP, extreme: float) -> None:
        with torch.no_grad():
            cast(Linear, net.encoder[-1]).bias.fill_(extreme)
        _, log_var = net.encode(torch.rand(1, 1, 28, 28), one_hot(torch.tensor([0]), 10))
        log_var = log_var.detach()
        assert LOG_VAR_RANGE[0] <= float(log_var.min()) <= float(log_var.max()) <= LOG_VAR_RANGE[1]

    def test_a_raised_copy_multiplies_pixel_logits_and_leaves_the_net_alone(self, net: CVAE) -> None:
        z, condition = torch.randn(4, 8), torch.rand(4, 10)
        before = net.decode(z, condition)
        torch.testing.assert_close(net.raised(3.0).decode(z, condition), 3.0 * before)
        assert torch.equal(net.decode(z, condition), before)
        assert torch.equal(net.raised(1.0).decode(z, condition), before)
