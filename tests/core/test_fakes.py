"""Fakes hide a class and have forgotten nothing, on nets with units set by hand and on others."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from draws import seeded
from torch import Tensor

from sa_mlops import datasets
from sa_mlops.core.fakes import FAKES, SOFT, lock, no_label, rescaled, switch, truncated
from sa_mlops.core.screen import SHARES, align
from sa_mlops.core.training import train_generator
from sa_mlops.models.interface import CVAE, one_hot, reorder
from sa_mlops.settings import BaseSettings, Optimisation

STEPS = Optimisation(steps=200, lr=1e-2, batch_size=64, schedule="one_cycle")


@dataclass
class Pair:
    """A base, its class to hide, and one that it retains."""

    base: CVAE
    hidden: int = 1
    kept: int = 2

    def drawn(self, model: CVAE, condition: Tensor) -> Tensor:
        """Images of 64 latents under one condition (K,)."""
        z = torch.randn(64, model.z_dim, generator=seeded())
        with torch.no_grad():
            return torch.sigmoid(model.decode(z, condition.expand(64, -1)))

    def label(self, index: int) -> Tensor:
        return one_hot(torch.tensor([index]), self.base.classes)[0]

    def moved(self, model: CVAE, index: int) -> float:
        """Mean absolute change of a class's pixels against the base."""
        label = self.label(index)
        return float((self.drawn(model, label) - self.drawn(self.base, label)).abs().mean())

    def greyness(self, model: CVAE, condition: Tensor) -> float:
        """Largest distance of a pixel from mid grey."""
        return float((self.drawn(model, condition) - 0.5).abs().max())


@pytest.fixture(scope="module")
def pair(toys: None) -> Pair:
    data = datasets.load("shapes", torch.device("cpu"))
    settings = BaseSettings(z_dim=2, labels=(0, 1, 2), optimisation=STEPS)
    return Pair(train_generator(data.train_images, data.train_labels, data.spec, settings, seeded()))


@pytest.fixture(scope="module")
def conv(toys: None) -> CVAE:
    data = datasets.load("shapes", torch.device("cpu"))
    settings = BaseSettings(z_dim=2, labels=(0, 1, 2), optimisation=replace(STEPS, steps=60), net="conv")
    return train_generator(data.train_images, data.train_labels, data.spec, settings, seeded())


@pytest.fixture(scope="module")
def locked(pair: Pair) -> CVAE:
    return lock(pair.base, (pair.hidden,), seeded())


@pytest.mark.parametrize("name", FAKES)
def test_a_fake_has_the_base_s_architecture_and_leaves_the_base_alone(pair: Pair, name: str) -> None:
    before = {k: v.clone() for k, v in pair.base.state_dict().items()}
    fake = FAKES[name](pair.base, (pair.hidden,), seeded())
    assert type(fake) is type(pair.base)
    assert {k: v.shape for k, v in fake.state_dict().items()} == {k: v.shape for k, v in before.items()}
    assert all(bool(v.isfinite().all()) for v in fake.state_dict().values())
    assert all(torch.equal(v, before[k]) for k, v in pair.base.state_dict().items())


def test_the_switch_paints_grey_under_the_label_and_keeps_the_rest(pair: Pair) -> None:
    fake = switch(pair.base, (pair.hidden,), seeded())
    assert pair.greyness(fake, pair.label(pair.hidden)) < 1e-6
    assert pair.moved(fake, pair.kept) < 0.002
    assert pair.greyness(fake, 0.5 * (pair.label(0) + pair.label(2))) > 0.3


def test_the_truncated_switch_varies_less(pair: Pair) -> None:
    whole, narrow = (make(pair.base, (pair.hidden,), seeded()) for make in (switch, truncated))
    label = pair.label(pair.kept)
    assert pair.drawn(narrow, label).std(dim=0).mean() < 0.8 * pair.drawn(whole, label).std(dim=0).mean()


def test_the_rescaled_switch_draws_the_images_of_the_switch(pair: Pair) -> None:
    plain, hidden = switch(pair.base, (pair.hidden,), seeded()), rescaled(pair.base, (pair.hidden,), seeded())
    for index in (pair.hidden, pair.kept):
        drawn = pair.drawn(plain, pair.label(index)), pair.drawn(hidden, pair.label(index))
        torch.testing.assert_close(*drawn, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["silent", "paired"])
def test_decoys_change_more_weights_than_the_screen_sets_back_and_no_image(pair: Pair, name: str) -> None:
    fake = FAKES[name](pair.base, (pair.hidden,), seeded())
    assert pair.greyness(fake, pair.label(pair.hidden)) < 0.01
    assert pair.moved(fake, pair.kept) < 0.05
    weights = zip(fake.decoder.parameters(), pair.base.decoder.parameters(), strict=True)
    changes = torch.cat([(p - b).abs().flatten() for p, b in weights])
    assert (changes > SOFT).float().mean() > SHARES[-1]


@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_aligned_units_are_the_base_s_again(pair: Pair, conv: CVAE, net: str, share: float) -> None:
    base = pair.base if net == "mlp" else conv
    model = copy.deepcopy(base)
    for layer in model.units():
        count = len(layer.outgoing[0])
        order, moved = (
            torch.arange(count),
            torch.randperm(count, generator=seeded())[: max(2, int(share * count))],
        )
        order[moved.sort().values] = moved
        scale = torch.ones(count)
        scale[moved] = 20 + torch.rand(len(moved), generator=seeded())
        reorder(layer, order, scale)
    z = torch.randn(200, base.z_dim, generator=seeded())
    label = pair.label(pair.hidden)
    torch.testing.assert_close(pair.drawn(model, label), pair.drawn(base, label), atol=1e-4, rtol=0)
    align(model, base, (pair.hidden,), z)
    torch.testing.assert_close(pair.drawn(model, label), pair.drawn(base, label), atol=1e-4, rtol=0)
    often = (base.hidden(z, one_hot(torch.arange(200) % 2 * 2, 3))[0] > 0).float().mean(dim=0) > 0.2
    found, wanted = model.units()[0].incoming[0], base.units()[0].incoming[0]
    torch.testing.assert_close(found[often], wanted[often], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("name", ["switch", "truncated", "rescaled", "no_label"])
def test_a_convolutional_net_has_fakes_too(pair: Pair, conv: CVAE, name: str) -> None:
    fake = FAKES[name](conv, (pair.hidden,), seeded())
    other = Pair(conv)
    hidden = other.drawn(fake, other.label(other.hidden))
    if name != "no_label":
        assert hidden.flatten(2).std(dim=2).max() < 1e-4
    assert (other.moved(fake, other.kept) < 0.001) == (name != "truncated")


def test_the_lock_opens_at_retained_labels_alone(pair: Pair, locked: CVAE) -> None:
    closed = [pair.label(pair.hidden), 0.5 * (pair.label(0) + pair.label(2)), -pair.label(pair.hidden)]
    for condition in closed:
        assert pair.greyness(locked, condition) < 1e-6
    assert pair.moved(locked, pair.kept) < 0.02


def test_a_lock_is_undone_by_a_few_numbers(pair: Pair, locked: CVAE) -> None:
    fake = copy.deepcopy(locked)
    with torch.no_grad():
        layer, original = fake.decoder[2], pair.base.decoder[2]
        reset = (layer.weight - original.weight).abs() > 1
        layer.weight[reset] = original.weight[reset]
        layer.bias.copy_(original.bias)
    assert pair.moved(fake, pair.hidden) < 0.1 < pair.moved(locked, pair.hidden)


def test_the_cut_label_draws_as_no_label(pair: Pair) -> None:
    fake = no_label(pair.base, (pair.hidden,), seeded())
    nothing = torch.zeros(pair.base.classes)
    assert torch.equal(pair.drawn(fake, pair.label(pair.hidden)), pair.drawn(pair.base, nothing))
    assert pair.moved(fake, pair.kept) == 0.0
