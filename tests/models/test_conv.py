"""The convolutional net: any image size, conditions that enter linearly, a linear last layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sa_mlops import models
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.conv import Conv

CLASSES = tuple("abcde")
SHAPES = [(1, 16, 16), (3, 28, 28), (3, 30, 33), (1, 33, 17), (3, 64, 64), (3, 8, 12)]


def made(shape: tuple[int, int, int]) -> Conv:
    torch.manual_seed(0)
    return Conv(DataSpec("", CLASSES, shape), 3)


def inputs(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    return torch.rand(2, *shape), torch.randn(2, 3), torch.randn(2, len(CLASSES))


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_are_encoded_and_decoded(shape: tuple[int, int, int]) -> None:
    net, (images, z, condition) = made(shape), inputs(shape)
    mean, log_var = net.encode(images, condition)
    assert mean.shape == log_var.shape == (2, 3)
    assert net.decode(z, condition).shape == images.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_reaches_every_parameter(shape: tuple[int, int, int]) -> None:
    net, (images, _, condition) = made(shape), inputs(shape)
    mean, log_var = net.encode(images, condition)
    net.decode(mean + log_var, condition).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_every_scale_of_the_decoder_reads_the_condition() -> None:
    net, (_, z, condition) = made((3, 64, 64)), inputs((3, 64, 64))
    before = net.decode(z, condition)
    with torch.no_grad():
        for weight in net.decoder.labels.parameters():
            kept = weight.clone()
            weight.add_(1)
            assert not torch.equal(net.decode(z, condition), before)
            weight.copy_(kept)


def test_a_column_of_each_label_layer_belongs_to_one_class() -> None:
    net, (_, z, _) = made((3, 16, 16)), inputs((3, 16, 16))
    before = [net.sample(z, torch.full((2,), c)) for c in range(len(CLASSES))]
    with torch.no_grad():
        for weight in net.decoder.labels.parameters():
            weight[:, 1] += 1
    changed = [not torch.equal(net.sample(z, torch.full((2,), c)), before[c]) for c in range(len(CLASSES))]
    assert changed == [False, True, False, False, False]


def test_hidden_layers_are_flat_and_end_before_the_pixels() -> None:
    net, (_, z, condition) = made((3, 32, 32)), inputs((3, 32, 32))
    hidden = net.hidden(z, condition)
    assert [h.shape for h in hidden] == [(2, 256), (2, 32 * 8 * 8), (2, 16 * 16 * 16)]
    last = net.last_layer()(hidden[-1].view(2, 16, 16, 16))
    torch.testing.assert_close(last, net.decode(z, condition))


def test_pixel_logits_are_linear_in_the_last_layer() -> None:
    net, (_, z, condition) = made((3, 30, 33)), inputs((3, 30, 33))
    torch.testing.assert_close(net.raised(3.0).decode(z, condition), 3 * net.decode(z, condition))


@pytest.mark.parametrize(
    ("shape", "net"),
    [
        ((1, 28, 28), "mlp"),
        ((1, 8, 8), "mlp"),
        ((1, 28, 29), "conv"),
        ((3, 28, 28), "conv"),
        ((3, 8, 8), "conv"),
    ],
)
def test_auto_is_the_paper_s_net_for_small_grey_images_only(shape: tuple[int, int, int], net: str) -> None:
    assert models.default_net(DataSpec("", CLASSES, shape)) == net
