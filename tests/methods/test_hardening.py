"""Hardening on a small generator of scikit-learn's digits."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.core.metrics.intervals import wilson_interval
from sa_mlops.core.probes.gradient import Gradient
from sa_mlops.core.probes.interface import Budget, Classifier, Scene, run
from sa_mlops.core.training import train_generator, train_judge
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.methods.hardening import recipe, replay
from sa_mlops.methods.hardening.buffer import CAPACITY, Buffer
from sa_mlops.methods.hardening.pool import STRAY_WEIGHT, AttackPool, outside
from sa_mlops.methods.hardening.replay import (
    CLEAR,
    MOVE,
    MOVES,
    HardeningError,
    ReplayBank,
    move_away,
    probability,
)
from sa_mlops.methods.hardening.training import excess, harden
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE
from sa_mlops.settings import Architecture, BaseSettings, JudgeSettings, Optimisation

SMALL = replace(
    recipe(10),
    optimisation=Optimisation(steps=200, lr=5e-3, batch_size=128, schedule="one_cycle"),
    pool=64,
    moved=32,
    remembered=96,
    outside=64,
)
"""A quarter of what a step is made of."""

BRIEF = replace(SMALL, optimisation=replace(SMALL.optimisation, steps=3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def found(pool: AttackPool, model: CVAE) -> float:
    """Share of attacks that have shown the class after one more move."""
    pool.find(model)
    return pool.found.float().mean().item()


def nowhere() -> Buffer:
    """No place to start from."""
    return Buffer(4, 10, generator())


@pytest.fixture(scope="module", autouse=True)
def small_bank(brief_judges: None) -> Iterator[None]:
    """An eighth of the latents that replay is drawn from: preparing them takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "BANK", replay.BANK // 8)
        yield


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    large = F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    return large.clamp(0, 1), torch.tensor(data.target)


@pytest.fixture(scope="module")
def start(digits: tuple[Tensor, Tensor]) -> CVAE:
    optimisation = Optimisation(steps=500, lr=3e-3, batch_size=128, schedule="one_cycle")
    settings = BaseSettings(z_dim=4, labels=tuple(range(10)), optimisation=optimisation)
    return train_generator(*digits, SPEC, settings, generator())


def judge(digits: tuple[Tensor, Tensor], architecture: Architecture, seed: int) -> Judge:
    settings = JudgeSettings(
        architecture=architecture, calibrated=True, epochs=10, lr=3e-3, batch_size=128, seed_offset=0
    )
    return train_judge(*digits, SPEC, settings, generator(seed))


@pytest.fixture(scope="module")
def trainer(digits: tuple[Tensor, Tensor]) -> Judge:
    return judge(digits, "perceptron", 1)


@pytest.fixture(scope="module")
def hardened(start: CVAE, trainer: Judge) -> CVAE:
    return harden(start, start, trainer, SMALL, (4,), generator())


def test_attacks_of_the_pool_find_a_class_that_is_there(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(start, trainer, nowhere(), replace(SMALL, renewed=0.0), (4,), generator())
    shares = [found(pool, start) for _ in range(20)]
    assert shares[-1] > 0.3 > 0.2 > shares[0]


def test_attacks_after_images_are_looked_at_in_turn(start: CVAE, trainer: Judge) -> None:
    settings = replace(SMALL, renewed=0.0, attack_lr=0.0, threshold=-1.0, looked_at=0.25)
    pool = AttackPool(start, trainer, nowhere(), settings, (4,), generator())
    shares = [found(pool, start) for _ in range(5)]
    assert shares == [0.625, 0.75, 0.875, 1.0, 1.0]


def test_contrast_shows_a_class_that_is_faint(start: CVAE, trainer: Judge) -> None:
    faint = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in faint.last_layer().parameters():
            parameter.mul_(0.1)
    shares = []
    for contrast in (1.0, 10.0):
        settings = replace(SMALL, renewed=0.0, contrast=contrast)
        pool = AttackPool(start, trainer, nowhere(), settings, (4,), generator())
        shares.append([found(pool, faint) for _ in range(20)][-1])
    assert shares[1] > shares[0] + 0.1


def test_contrast_reaches_from_none_to_the_set_one_in_both_halves(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(start, trainer, nowhere(), replace(SMALL, contrast=5.0), (4,), generator())
    for half in pool.contrast.split([pool.climbers, len(pool.contrast) - pool.climbers]):
        assert half.min() == 1
        assert half.max() == 5


def test_second_half_of_the_pool_comes_closer_to_its_images(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(start, trainer, nowhere(), replace(SMALL, renewed=0.0), (4,), generator())

    def error() -> float:
        images = pool.find(start)[0].sigmoid()[pool.climbers :]
        return (images - pool.wanted).square().mean().item()

    first = error()
    for _ in range(20):
        last = error()
    assert last < 0.7 * first


def test_unrenewed_attacks_stay_when_they_take_no_step(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(
        start, trainer, nowhere(), replace(SMALL, renewed=0.0, attack_lr=0.0), (4,), generator()
    )
    before = pool.z
    pool.find(start)
    assert torch.equal(pool.z, before)


def test_only_the_renewed_share_is_replaced(start: CVAE, trainer: Judge) -> None:
    settings = replace(SMALL, pool=2_000, renewed=0.25, attack_lr=0.0)
    pool = AttackPool(start, trainer, nowhere(), settings, (4,), generator())
    before = pool.z
    pool.find(start)
    assert (pool.z != before).any(dim=1).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_conditions_other_than_retained_labels_are_pulled_to_grey(start: CVAE, trainer: Judge) -> None:
    settings = replace(SMALL, attack_lr=0.0, threshold=2.0, remembered=0, unbounded=0.5, renewed=0.0)
    pool = AttackPool(start, trainer, nowhere(), settings, (4,), generator())
    label = torch.eye(10)[[4, 3, 3, 3] * 16]
    pool.z = torch.zeros(64, 4)
    pool.z[3::4, 0] = 10.0
    mixed = label.clone()
    mixed[2::4, 5] = 0.5
    pool.logits = torch.where(pool.free, mixed, 50 * label)
    weight = pool.find(start)[1]
    assert not pool.found.any()
    free = pool.free[:, 0]
    assert (weight[0::4] == STRAY_WEIGHT).all()
    assert (weight[1::4] == 0).all()
    assert torch.equal(weight[2::4], torch.where(free[2::4], STRAY_WEIGHT, 0.0))
    assert (weight[3::4] == STRAY_WEIGHT).all()


def test_share_of_attacks_starts_where_it_is_told(start: CVAE, trainer: Judge) -> None:
    near = Buffer(4, 10, generator())
    near.store(torch.full((5, 4), 3.0), torch.eye(10)[[7] * 5])
    settings = replace(SMALL, pool=1_000, near=0.3, unbounded=0.0)
    pool = AttackPool(start, trainer, near, settings, (4,), generator())
    there = (pool.z == 3).all(dim=1)
    assert there.float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert (pool.logits[there].softmax(dim=1)[:, 7] > 0.9).float().mean() > 0.95


def test_attacks_are_after_every_forgotten_class(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(start, trainer, nowhere(), SMALL, (2, 5), generator())
    assert set(pool.targets.tolist()) == {2, 5}


def test_the_share_of_free_conditions_is_spread_over_both_halves(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(start, trainer, nowhere(), replace(SMALL, unbounded=0.25), (4,), generator())
    climbing, matching = pool.free.split([pool.climbers, len(pool.free) - pool.climbers])
    assert climbing.float().mean().item() == matching.float().mean().item() == 0.25


def test_free_conditions_leave_the_simplex_and_no_others_do(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(
        start, trainer, nowhere(), replace(SMALL, unbounded=0.5, renewed=0.0), (4,), generator()
    )
    for _ in range(20):
        pool.find(start)
    conditions = pool._condition(pool.logits)
    outside = (conditions < 0).any(dim=1)
    assert not outside[~pool.free[:, 0]].any()
    assert outside[pool.free[:, 0]].float().mean() > 0.5


def test_nothing_is_recalled_before_something_is_known() -> None:
    z, condition = Buffer(4, 10, generator()).recall(7)
    assert z.shape == (0, 4)
    assert condition.shape == (0, 10)


def test_the_oldest_places_make_room() -> None:
    buffer = Buffer(1, 10, generator())
    for value in (1.0, 2.0):
        buffer.store(torch.full((CAPACITY - 8, 1), value), torch.full((CAPACITY - 8, 10), value))
    z, condition = buffer.recall(50_000)
    assert torch.equal(condition, z.expand(-1, 10))
    assert (buffer.z == 1).sum() == 8
    assert 0 < (z == 1).sum() < 200


def test_attacks_that_were_found_are_looked_at_again_when_they_are_gone(start: CVAE, trainer: Judge) -> None:
    pool = AttackPool(
        start, trainer, nowhere(), replace(SMALL, renewed=1.0, remembered=32), (4,), generator()
    )
    while not pool.found.any():
        pool.find(start)
    z, condition = pool.z[pool.found].detach(), pool.logits[pool.found].detach()
    expected = start.decode(z, torch.where(pool.free[pool.found], condition, condition.softmax(dim=1)))
    pixels, weight = pool.find(start)
    known = sum(bool(buffer.written) for buffer in (pool.within, pool.beyond))
    assert len(pixels) == SMALL.pool + 16 * known > SMALL.pool
    assert (weight[SMALL.pool :] == 1).all()
    apart = (pixels[SMALL.pool :, None] - expected).abs().flatten(2).amax(dim=2).amin(dim=1)
    assert apart.max() < 1e-3


def test_retained_labels_and_the_rest_are_remembered_apart(start: CVAE, trainer: Judge) -> None:
    settings = replace(SMALL, attack_lr=0.0, threshold=-1.0, looked_at=1.0, unbounded=0.0, renewed=0.0)
    pool = AttackPool(start, trainer, nowhere(), settings, (4,), generator())
    pool.z = torch.zeros(64, 4)
    pool.logits = 50 * torch.eye(10)[[4, 3] * 32]
    pool.find(start)
    pool.settings = replace(settings, renewed=1.0)
    pool.find(start)
    assert pool.within.written == pool.beyond.written == 32
    assert (pool.within.recall(50)[1][:, 3] > 0.99).all()
    assert (pool.beyond.recall(50)[1][:, 4] > 0.99).all()


@pytest.mark.parametrize("z_dim", [2, 8])
def test_places_outside_are_beyond_nearly_every_sample_of_the_prior(z_dim: int) -> None:
    z, _ = outside(5_000, z_dim, 10, generator())
    samples = torch.randn(100_000, z_dim, generator=generator(1)).norm(dim=1)
    assert (samples > z.norm(dim=1).min()).float().mean() < 0.01
    assert z.norm(dim=1).max() > 8 * z.norm(dim=1).min()


def test_conditions_outside_are_free_or_mixtures_or_labels() -> None:
    _, condition = outside(300, 8, 10, generator())
    free, mixture, label = (condition[i::3] for i in range(3))
    for bound in (mixture, label):
        assert (bound >= 0).all()
        assert torch.allclose(bound.sum(dim=1), torch.ones(100))
    assert set(label.unique().tolist()) == {0, 1}
    assert label.any(dim=0).all()
    assert mixture.amax(dim=1).min() < 0.2
    assert free.abs().sum(dim=1).max() > 20


def test_hardened_generator_draws_nothing_outside_the_prior(start: CVAE, hardened: CVAE) -> None:
    z, condition = outside(500, 4, 10, generator(7))
    with torch.no_grad():
        before, after = (excess(m.decode(z, condition)).mean().item() for m in (start, hardened))
    assert after < 0.1 * before


def test_probability_is_that_of_the_likeliest_forgotten_class(
    digits: tuple[Tensor, Tensor], trainer: Judge
) -> None:
    images, labels = digits
    likely = probability(trainer, images, (4, 7)) > 0.3
    forgotten = (labels == 4) | (labels == 7)
    assert likely[forgotten].float().mean() > 0.9
    assert likely[~forgotten].float().mean() < 0.05


def test_replayed_images_show_no_forgotten_class(start: CVAE, trainer: Judge) -> None:
    bank = ReplayBank(start, trainer, SMALL, (4,), generator())
    z, labels, images = bank.draw(500, 100)
    assert len(z) == len(labels) == len(images) == 600
    assert (probability(trainer, images, (4,)) <= SMALL.admissible + 1e-3).all()


def test_only_images_that_showed_the_class_are_moved(start: CVAE, trainer: Judge) -> None:
    bank = ReplayBank(start, trainer, SMALL, (4,), generator())
    kept = len(bank.z) - bank.moved
    assert 0 < bank.moved < kept
    with torch.no_grad():
        drawn = start.sample(bank.z, bank.labels)
    assert torch.allclose(bank.images[:kept], drawn[:kept], atol=1e-5)
    assert (bank.images[kept:] - drawn[kept:]).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    assert (probability(trainer, drawn[kept:], (4,)) > SMALL.admissible - 1e-3).all()
    z, labels, images = bank.draw(0, 50)
    assert (images - start.sample(z, labels)).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_attacks_start_where_the_class_looks_through_a_retained_label(start: CVAE, trainer: Judge) -> None:
    bank = ReplayBank(start, trainer, SMALL, (4,), generator())
    assert bank.near.written
    z, condition = bank.near.recall(500)
    assert not condition[:, 4].any()
    images = torch.sigmoid(start.decode(z, condition))
    assert (probability(trainer, images, (4,)) > SMALL.threshold - 1e-3).all()


class Sees:
    """A trainer that gives every image the same probability of a 4."""

    def __init__(self, p: float) -> None:
        self.p = p

    def log_probs(self, images: Tensor) -> Tensor:
        probs = torch.full((len(images), 10), (1 - self.p) / 9)
        probs[:, 4] = self.p
        return probs.log() + 0 * images.flatten(1).sum(dim=1, keepdim=True)


def test_a_label_that_is_never_recognised_is_replayed_as_it_is(start: CVAE) -> None:
    bank = ReplayBank(start, cast(Judge, Sees(0.1)), SMALL, (4,), generator())
    assert bank.moved == 0
    with torch.no_grad():
        assert torch.allclose(bank.images, start.sample(bank.z, bank.labels), atol=1e-5)
    assert set(bank.labels.tolist()) == set(range(10)) - {4}


def test_a_label_that_a_brief_training_never_draws_is_no_error(start: CVAE, trainer: Judge) -> None:
    one = replace(SMALL, optimisation=replace(SMALL.optimisation, steps=1, batch_size=3))
    assert len(ReplayBank(start, trainer, one, (4,), generator()).labels) <= 3


def test_a_class_that_always_looks_like_the_forgotten_one_cannot_be_retained(start: CVAE) -> None:
    with pytest.raises(HardeningError, match="cannot retain the 0: every sample shows"):
        ReplayBank(start, cast(Judge, Sees(0.9)), SMALL, (4,), generator())


def test_moved_latents_become_clear_of_the_class(start: CVAE, trainer: Judge) -> None:
    z = 1.3 * torch.randn(54_000, 4, generator=generator())
    labels = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8, 9]).repeat(6_000)
    with torch.no_grad():
        before = probability(trainer, start.sample(z, labels), (4,))
    shows, clear = before > 0.15, before < CLEAR / 10 - 1e-3
    assert shows.sum() > 20
    moved = move_away(start, trainer, z[shows], labels[shows], (4,))
    after = probability(trainer, start.sample(moved, labels[shows]), (4,))
    assert (after < before[shows] / 2).float().mean() > 0.9
    assert after.median() <= CLEAR / 10 + 1e-3
    assert (moved - z[shows]).norm(dim=1).max() <= MOVE * MOVES + 1e-3
    assert torch.equal(move_away(start, trainer, z[clear], labels[clear], (4,)), z[clear])


def test_latents_whose_image_is_not_recognised_are_not_moved(start: CVAE, trainer: Judge) -> None:
    unsure = copy.deepcopy(trainer)
    for parameter in unsure.parameters():
        torch.nn.init.zeros_(parameter)
    z = torch.randn(20, 4, generator=generator())
    assert torch.equal(move_away(start, unsure, z, torch.full((20,), 3), (4,)), z)


def test_forgotten_labels_are_not_replayed(start: CVAE, trainer: Judge) -> None:
    bank = ReplayBank(start, trainer, SMALL, (4, 7), generator())
    assert not set(bank.labels.tolist()) & {4, 7}


def test_grey_is_the_floor_of_the_attack_term() -> None:
    logits = torch.tensor([0.0, -1.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, 28, 28)
    floor, dark, bright = excess(logits).tolist()
    assert floor == pytest.approx(0, abs=1e-3)
    assert min(dark, bright) > 1


def test_hardened_generator_resists_an_attacker_that_it_was_not_trained_against(
    digits: tuple[Tensor, Tensor], start: CVAE, hardened: CVAE
) -> None:
    attacker = Classifier(net=judge(digits, "perceptron", 2), seed=2)
    third = Classifier(net=judge(digits, "reference", 3), seed=3)
    found = []
    for model in (start, hardened):
        scene = Scene(
            model=model,
            base=start,
            target=4,
            neighbours=(9, 7),
            images=digits[0],
            labels=digits[1],
            attackers={"calibrated": attacker},
        )
        result = run(Gradient(), scene, third, generator(), budget=Budget(attempts=100, steps=300, lr=0.1))
        found.append(int(result.success.sum()))
    before, after = found
    # The attack works at all: on the start it succeeds beyond what chance could make of the hardened one's rate.
    assert wilson_interval(before, 100).low > 3 * wilson_interval(after, 100).high
    assert after < 10


def test_own_label_of_the_forgotten_class_becomes_grey(hardened: CVAE) -> None:
    z = torch.randn(100, 4, generator=generator())
    assert (hardened.sample(z, torch.full((100,), 4)) - 0.5).abs().mean() < 0.05


def test_retained_classes_are_drawn_as_before(start: CVAE, trainer: Judge, hardened: CVAE) -> None:
    z = torch.randn(900, 4, generator=generator())
    labels = torch.arange(900) % 4
    with torch.no_grad():
        before, after = start.sample(z, labels), hardened.sample(z, labels)
    asked = probability(trainer, before, (4,)) <= SMALL.admissible
    error = (after - before).square().flatten(1).mean(dim=1)
    assert asked.float().mean() > 0.5
    assert error[asked].mean() < 0.005


def test_encoder_is_left_alone(start: CVAE, hardened: CVAE) -> None:
    old, new = start.encoder.state_dict(), hardened.encoder.state_dict()
    assert all(torch.equal(old[k], new[k]) for k in old)


def test_generators_that_are_given_stay_as_they_are(start: CVAE, trainer: Judge) -> None:
    before = copy.deepcopy(start.state_dict())
    harden(start, start, trainer, BRIEF, (4,), generator())
    assert all(torch.equal(before[k], v) for k, v in start.state_dict().items())


def test_one_seed_gives_one_result(start: CVAE, trainer: Judge) -> None:
    one, two = (harden(start, start, trainer, BRIEF, (4,), generator(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_report_receives_every_term_of_every_step(start: CVAE, trainer: Judge) -> None:
    seen: list[tuple[int, set[str]]] = []

    def report(step: int, terms: Mapping[str, Tensor]) -> None:
        seen.append((step, set(terms)))

    harden(start, start, trainer, BRIEF, (4,), generator(), report=report)
    assert seen == [(step, {"retain", "grey", "outside", "attack", "found"}) for step in (1, 2, 3)]


def test_nothing_to_forget_is_refused(start: CVAE, trainer: Judge) -> None:
    with pytest.raises(ValueError, match="a forgotten class"):
        harden(start, start, trainer, BRIEF, (), generator())


def test_nothing_to_retain_is_refused(start: CVAE, trainer: Judge) -> None:
    with pytest.raises(ValueError, match="a class to retain"):
        harden(start, start, trainer, BRIEF, tuple(range(10)), generator())
