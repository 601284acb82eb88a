"""The methods beside Selective Amnesia: each runs on every net, and its settings are read back."""

from __future__ import annotations

import json

import pytest
import torch

from sa_mlops import models
from sa_mlops.config import ForgetConfig
from sa_mlops.core.runtime import make_generator
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.datasets.spec import Dataset
from sa_mlops.methods import interface
from sa_mlops.methods.distillation.training import searched
from sa_mlops.methods.interface import Inputs, StepSettings, train_step
from sa_mlops.models.interface import CVAE, make_net
from sa_mlops.registry.recorded import read_step
from sa_mlops.settings import jsonable


def step(method: str, **options: object) -> StepSettings:
    small = {"steps": 2, "batch_size": 4} if "steps" in interface.named(method).options() else {}
    config = ForgetConfig(method=method, classes=("1",), **small | options)  # type: ignore[arg-type]
    return config.resolved((), None)


def run(settings: StepSettings, net: str) -> tuple[CVAE, CVAE]:
    torch.manual_seed(0)
    start = make_net(net, SPEC, 2).requires_grad_(False)
    images = torch.rand(40, *SPEC.shape)
    labels = torch.arange(40) % 10
    fisher = {name: 1e-6 * torch.rand_like(p) for name, p in start.named_parameters()}
    inputs = Inputs(fisher=fisher, data=Dataset(SPEC, "", images, labels, images, labels))
    made = train_step(start, settings, inputs, lambda *key: make_generator(torch.device("cpu"), 0, *key))
    return start, made


@pytest.mark.parametrize("net", models.nets())
@pytest.mark.parametrize("method", interface.known())
def test_every_method_makes_another_finite_net_of_every_net(method: str, net: str) -> None:
    start, made = run(step(method, net=net, z_dim=2), net)
    pairs = list(zip(start.parameters(), made.parameters(), strict=True))
    assert all(bool(b.isfinite().all()) for _, b in pairs)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("method", interface.known())
def test_settings_with_a_distillation_are_read_back(method: str) -> None:
    settings = step(method, distil=True, distil_steps=3)
    assert read_step(json.dumps(jsonable(settings)), 10) == settings


@torch.no_grad()
@pytest.mark.parametrize("net", models.nets())
@pytest.mark.parametrize("replacement", ["nearest", "mean"])
def test_redaction_leaves_the_other_labels_equal_bit_for_bit(replacement: str, net: str) -> None:
    start, made = run(step("redaction", replacement=replacement, net=net, z_dim=2), net)
    z = torch.randn(10, 2)
    before, after = (net.sample(z, torch.arange(10)) for net in (start, made))
    equal = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert equal == [c != 1 for c in range(10)]


def test_salun_changes_the_share_of_weights_that_it_selects() -> None:
    start, made = run(step("salun", saliency=0.1), "mlp")
    changed = sum(int((a != b).sum()) for a, b in zip(start.parameters(), made.parameters(), strict=True))
    assert 0 < changed <= 0.1 * sum(p.numel() for p in start.parameters()) + 1


def test_a_hardened_generator_is_distilled_at_the_places_of_attacks_too() -> None:
    settings = step("redaction", harden=True, distil=True)
    assert list(settings.phases) == ["harden", "distil"]
    assert [s.distil and s.distil.places for s in (settings, step("redaction", distil=True))] == [128, 0]
    z, condition = searched(400, 8, 10, torch.Generator().manual_seed(0))
    mixtures, free, near, far = condition.split(100)
    for bound in (mixtures, near):
        assert torch.allclose(bound.sum(dim=1), torch.ones(100))
    assert (free < 0).any(dim=1).float().mean() > 0.9
    assert near.amax(dim=1).min() > 0.5 > mixtures.amax(dim=1).min()
    assert z[300:].norm(dim=1).min() > 4 > z[:300].norm(dim=1).min()
    assert far.shape == (100, 10)


def test_distillation_without_teacher_weights_starts_anew() -> None:
    settings = step("redaction", distil=True, distil_steps=1, distil_noise=1.0)
    start, made = run(settings, "mlp")
    assert not any(torch.equal(a, b) for a, b in zip(start.parameters(), made.parameters(), strict=True))
