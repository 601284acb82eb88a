"""Attacks on weights, on small generators whose weights the test sets."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Classifier, Scene
from sa_mlops.core.probes.weights import EDITS
from sa_mlops.core.probes.weights.interface import layers, tamper
from sa_mlops.core.probes.weights.precision import rounded
from sa_mlops.core.probes.weights.pruning import pruned
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.classifiers import make_judge
from sa_mlops.models.interface import CVAE, make_net

SPEC = DataSpec("shapes", ("circle", "square", "triangle"), (1, 16, 16))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene_of(net: str) -> Scene:
    torch.manual_seed(0)
    base, model = (make_net(net, SPEC, 4) for _ in range(2))
    return Scene(
        model=model, base=base, target=1, neighbours=(0, 2), images=torch.rand(30, *SPEC.shape, generator=generator()),
        labels=torch.arange(30) % 3,
        attackers={"calibrated": Classifier(net=make_judge("perceptron", SPEC).eval(), seed=1)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def judge() -> Classifier:
    return Classifier(net=make_judge("wide", SPEC).eval(), seed=2)


def images(model: CVAE) -> Tensor:
    z = torch.randn(20, 4, generator=generator(5))
    return torch.cat([model.sample(z, torch.full((20,), c)) for c in range(3)]).detach()


@pytest.mark.parametrize(("net", "name"), itertools.product(("mlp", "conv"), EDITS))
def test_an_edit_changes_the_images_of_copies_and_leaves_the_generator(net: str, name: str) -> None:
    scene = scene_of(net)
    before, drawn = copy.deepcopy(scene.model.state_dict()), images(scene.model)
    variants = {
        word: images(model) for word, model in itertools.islice(EDITS[name].variants(scene, generator()), 2)
    }
    assert variants
    assert all(torch.isfinite(found).all() for found in variants.values())
    assert any(not torch.equal(found, drawn) for found in variants.values())
    assert all(torch.equal(before[k], v) for k, v in scene.model.state_dict().items())
    assert torch.equal(images(scene.model), drawn)


def test_every_variant_is_attacked_with_its_own_label_and_a_search(judge: Classifier) -> None:
    scene = scene_of("mlp")
    shares: list[int] = []
    watched = replace(scene, report=lambda step, terms: shares.append(step))
    found = tamper(EDITS["noise"], watched, judge, generator(), attempts=6)
    assert shares == list(range(1, len(found) + 1))
    for variant in found:
        assert variant.success.shape == (6,)
        assert (variant.success >= variant.direct).all()
    again = tamper(EDITS["noise"], scene, judge, generator(), attempts=6)
    assert all(torch.equal(a.success, b.success) for a, b in zip(found, again, strict=True))


def test_four_bits_leave_fifteen_values() -> None:
    weight = torch.randn(40, 50, generator=generator())
    assert len(rounded(weight, 4).unique()) <= 15
    assert (rounded(weight, 8) - weight).abs().max() <= weight.abs().max() / 127


def test_pruning_takes_the_smallest() -> None:
    weight = torch.randn(20, 10, generator=generator())
    kept = pruned(weight, 0.3)
    assert (kept == 0).sum() == 60
    assert kept[kept != 0].abs().min() >= weight[kept == 0].abs().max()


def test_a_unit_that_silences_the_label_is_switched_off_and_the_silenced_units_are_raised() -> None:
    """The second layer is off under the label, because a unit of the first that reads the label pulls it down."""
    scene = scene_of("mlp")
    honest = copy.deepcopy(scene.model)
    first, second, _ = layers(scene.model).values()
    with torch.no_grad():
        for model in (honest, scene.model):
            a, b = list(layers(model).values())[:2]
            a.weight[7], a.bias[7], b.weight[:, 7] = 0.0, 0.0, 0.0
        first.weight[7, 4 + scene.target] = 1.0
        second.weight[:, 7] = -1_000.0
    wanted = images(honest)[20:40]
    assert not torch.allclose(images(scene.model)[20:40], wanted, atol=1e-3)
    ablated = dict(EDITS["ablate"].variants(scene, generator()))
    assert any(torch.allclose(images(m)[20:40], wanted, atol=1e-5) for m in ablated.values())
    raised = dict(EDITS["dead_units"].variants(scene, generator()))
    assert any(images(m)[20:40].var(dim=0).mean() > 1e-6 for m in raised.values())


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_a_label_with_its_columns_at_zero_is_no_condition(net: str) -> None:
    scene = scene_of(net)
    edited = dict(EDITS["label_column"].variants(scene, generator()))["zero"]
    z = torch.randn(20, 4, generator=generator())
    with torch.no_grad():
        labelled = edited.sample(z, torch.full((20,), scene.target))
        free = torch.sigmoid(edited.decode(z, torch.zeros(20, 3)))
    assert torch.equal(labelled, free)
    assert not torch.equal(images(edited)[:20], images(edited)[40:])


def test_further_training_sees_no_image_of_the_class() -> None:
    scene = scene_of("mlp")
    spoilt = replace(
        scene, images=torch.where((scene.labels == 1)[:, None, None, None], torch.nan, scene.images)
    )
    _, model = next(EDITS["finetune"].variants(spoilt, generator()))
    assert torch.isfinite(images(model)).all()


def test_the_line_ends_near_the_base() -> None:
    scene = scene_of("mlp")
    *_, (_, last) = EDITS["line"].variants(scene, generator())
    mine, base, near = (next(iter(m.decoder.parameters())) for m in (scene.model, scene.base, last))
    torch.testing.assert_close(near, mine + 0.75 * (base - mine))
