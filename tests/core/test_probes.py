"""Recovery probes on a small generator of scikit-learn's digits."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.core.prior import shell
from sa_mlops.core.probes import PROBES
from sa_mlops.core.probes.features import FeatureBudget, probe_features
from sa_mlops.core.probes.gradient import Gradient, descend
from sa_mlops.core.probes.gradient_free import RandomSearch, SeparableCMA
from sa_mlops.core.probes.interface import (
    Budget,
    Classifier,
    ProbeResult,
    Role,
    Scene,
    check_independent,
    checkpoints,
    run,
    union,
)
from sa_mlops.core.probes.pixel import PixelMatch
from sa_mlops.core.probes.random_latents import RandomLatents
from sa_mlops.core.probes.relearning import RelearnBudget, last_layer, low_rank, relearn
from sa_mlops.core.probes.relearning.all_weights import all_weights
from sa_mlops.core.probes.relearning.interface import Part
from sa_mlops.core.probes.walks import Walk
from sa_mlops.core.training import train_generator, train_judge
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.classifiers import make_judge
from sa_mlops.models.mlp import MLP
from sa_mlops.settings import Architecture, BaseSettings, JudgeSettings, Optimisation

FEW = Budget(attempts=8, steps=3, lr=0.1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    large = F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    return large.clamp(0, 1), torch.tensor(data.target)


def classifier(digits: tuple[Tensor, Tensor], architecture: Architecture, seed: int) -> Classifier:
    settings = JudgeSettings(
        architecture=architecture, calibrated=True, epochs=6, lr=3e-3, batch_size=128, seed_offset=0
    )
    return Classifier(net=train_judge(*digits, SPEC, settings, generator(seed)), seed=seed)


@pytest.fixture(scope="module")
def judge(digits: tuple[Tensor, Tensor], brief_judges: None) -> Classifier:
    return classifier(digits, "wide", 1)


@pytest.fixture(scope="module")
def scene(digits: tuple[Tensor, Tensor], brief_judges: None) -> Scene:
    optimisation = Optimisation(steps=300, lr=3e-3, batch_size=128, schedule="one_cycle")
    settings = BaseSettings(z_dim=4, labels=tuple(range(10)), optimisation=optimisation)
    base = train_generator(*digits, SPEC, settings, generator())
    attacker = classifier(digits, "perceptron", 2)
    return Scene(
        model=base,
        base=base,
        target=1,
        neighbours=(7, 4),
        images=digits[0],
        labels=digits[1],
        attackers={"calibrated": attacker, "plain": attacker},
    )


@pytest.fixture(scope="module")
def grey(scene: Scene) -> Scene:
    """The same against a decoder that paints grey whatever it is given."""
    model = copy.deepcopy(scene.model)
    for parameter in model.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    return replace(scene, model=model)


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_judges_each_attempt_repeats_itself_and_leaves_the_generator_as_it_is(
    name: str, scene: Scene, judge: Classifier
) -> None:
    before = copy.deepcopy(scene.model.state_dict())
    result, again = (run(PROBES[name], scene, judge, generator(3), budget=FEW) for _ in range(2))
    assert torch.equal(result.images, again.images)
    assert all(torch.equal(before[k], v) for k, v in scene.model.state_dict().items())
    assert result.images.shape == (8, 1, 28, 28)
    assert result.trace.shape == (len(result.positions), 8)
    assert result.strips.shape == (len(result.positions), 8, 1, 28, 28)


@pytest.mark.parametrize("name", PROBES)
def test_no_probe_succeeds_against_a_decoder_that_paints_grey(
    name: str, grey: Scene, judge: Classifier
) -> None:
    assert run(PROBES[name], grey, judge, generator(), budget=FEW).rate == 0


@pytest.mark.parametrize("name", ["joint", "joint_from_neighbour", "joint_unbounded", "pixel_match"])
def test_probes_recover_a_class_that_the_base_knows(name: str, scene: Scene, judge: Classifier) -> None:
    result = run(PROBES[name], scene, judge, generator(), budget=Budget(attempts=40, steps=100, lr=0.1))
    assert result.rate > 0.5


def test_success_is_the_judges_probability_above_one_half(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["joint"], scene, judge, generator(), budget=replace(FEW, steps=30))
    assert torch.equal(result.success, judge.net.log_probs(result.images).exp()[:, 1] > 0.5)


def test_a_walk_succeeds_by_any_of_its_frames(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["double_walk"], scene, judge, generator(), budget=replace(FEW, steps=6))
    assert torch.equal(result.probability, result.trace.max(dim=0).values)


def test_a_search_is_counted_by_its_final_image(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["joint"], scene, judge, generator(), budget=FEW)
    assert torch.equal(result.probability, result.trace[-1])


def test_judge_of_the_attackers_architecture_is_refused(scene: Scene, judge: Classifier) -> None:
    kin = Classifier(net=make_judge("perceptron", SPEC), seed=judge.seed)
    with pytest.raises(ValueError, match="share the architecture 'perceptron'"):
        run(PROBES["joint"], scene, kin, generator())


def test_judge_of_the_attackers_seed_is_refused(judge: Classifier) -> None:
    other = Classifier(net=make_judge("residual", SPEC), seed=judge.seed)
    with pytest.raises(ValueError, match="share the seed 1"):
        check_independent(other, judge)


def test_missing_attacker_is_named(scene: Scene, judge: Classifier) -> None:
    with pytest.raises(ValueError, match="no plain attacker"):
        run(PROBES["joint_plain"], replace(scene, attackers={}), judge, generator())


def test_empty_budget_is_refused(scene: Scene, judge: Classifier) -> None:
    with pytest.raises(ValueError, match="attempts must be 1 or more"):
        run(PROBES["joint"], scene, judge, generator(), budget=Budget(attempts=0))


def test_class_without_real_images_is_named(scene: Scene, judge: Classifier) -> None:
    without = replace(scene, labels=scene.labels.clamp(min=2))
    with pytest.raises(ValueError, match="no real image of class 1"):
        run(PROBES["pixel_match"], without, judge, generator())


def test_z_alone_leaves_the_condition(scene: Scene, judge: Classifier) -> None:
    attempts = Gradient(moves="z").attack(scene, FEW, generator())
    assert torch.equal(attempts.condition[0], attempts.condition[-1])


def test_condition_alone_leaves_z(scene: Scene) -> None:
    attempts = Gradient(moves="condition").attack(scene, FEW, generator())
    assert torch.equal(attempts.z[0], attempts.z[-1])


def test_alternating_moves_z_first_and_then_the_condition(scene: Scene) -> None:
    attempts = Gradient(moves="alternating").attack(scene, replace(FEW, attempts=50, lr=1e-3), generator())
    assert torch.equal(attempts.condition[0], attempts.condition[1])


def test_softmaxed_condition_has_mass_one(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["joint"], scene, judge, generator(), budget=FEW)
    torch.testing.assert_close(result.condition_mass, torch.ones(8))


def test_unbounded_condition_may_weigh_more_than_a_label(scene: Scene, judge: Classifier) -> None:
    budget = Budget(attempts=8, steps=30, lr=0.5)
    assert run(PROBES["joint_unbounded"], scene, judge, generator(), budget=budget).condition_mass.max() > 1


def test_bounded_attack_stays_in_the_priors_shell(scene: Scene, judge: Classifier) -> None:
    budget = Budget(attempts=20, steps=20, lr=1.0)
    norm = run(PROBES["joint_bounded"], scene, judge, generator(), budget=budget).z_norm
    low, high = shell(4)
    assert low - 1e-4 <= norm.min()
    assert norm.max() <= high + 1e-4


def test_attempts_do_not_feel_each_other(scene: Scene) -> None:
    z, free = torch.randn(5, 4, generator=generator()), torch.randn(5, 10, generator=generator(1))

    def loss(z: Tensor, condition: Tensor) -> Tensor:
        return scene.model.decode(z, condition).square().flatten(1).sum(dim=1)

    def final(rows: slice) -> Tensor:
        found = descend(
            loss, z[rows], free[rows], FEW, "both", softmax=True, limits=None, report=scene.report
        )
        return found.z[-1]

    torch.testing.assert_close(final(slice(0, 5))[1:2], final(slice(1, 2)))


def test_transfer_starts_from_solutions_for_the_base(scene: Scene, grey: Scene, judge: Classifier) -> None:
    budget = Budget(attempts=40, steps=100, lr=0.1)
    begun = PROBES["transfer"].attack(grey, budget, generator())
    on_base = scene.model.decode(begun.z[0], begun.condition[0]).sigmoid()
    assert (judge.net.log_probs(on_base).exp()[:, 1] > 0.5).float().mean() > 0.5


def test_pixel_match_finds_an_image_that_the_decoder_can_draw(scene: Scene, judge: Classifier) -> None:
    z, ones = torch.randn(20, 4, generator=generator()), torch.ones(20, dtype=torch.int64)
    with torch.no_grad():
        drawable = replace(scene, images=scene.model.sample(z, ones), labels=ones)
    result = run(
        PixelMatch(start="encoder"),
        drawable,
        judge,
        generator(),
        budget=Budget(attempts=8, steps=300, lr=0.1),
    )
    assert result.pixel_error is not None
    assert result.pixel_error.median() < 1e-3


def test_sweep_scales_the_label(scene: Scene, judge: Classifier) -> None:
    attempts = RandomLatents(scales=(0.5, 2.0)).attack(scene, FEW, generator())
    assert attempts.condition[:, 0, 1].tolist() == [0.5, 2.0]


def test_triangular_walk_continues_to_the_second_neighbour(scene: Scene) -> None:
    attempts = Walk(beyond=True, deceptive=False).attack(scene, replace(FEW, steps=12), generator())
    assert [c.argmax().item() for c in attempts.condition[[0, 11, 22], 0]] == [7, 1, 4]


def test_deceptive_walk_holds_the_neighbours_condition(scene: Scene) -> None:
    attempts = Walk(beyond=False, deceptive=True).attack(scene, replace(FEW, steps=12), generator())
    assert (attempts.condition[:, :, 7] == 1).all()


def test_random_search_never_gets_worse(scene: Scene) -> None:
    loss = RandomSearch().attack(scene, Budget(attempts=8, steps=30, lr=1.0), generator()).loss
    assert (loss.diff() <= 0).all()


def test_evolution_minimises_a_stretched_bowl_from_many_starts() -> None:
    starts = torch.randn(6, 18, generator=generator())
    search, axes = SeparableCMA(starts, 0.5, generator(1)), torch.logspace(0, 3, 18)
    for _ in range(400):
        points = search.ask()
        search.tell(points, (axes * points.square()).sum(dim=2))
    assert (axes * search.mean.square()).sum(dim=1).max() < 1e-3


def test_report_receives_every_step(scene: Scene) -> None:
    steps: list[int] = []
    Gradient().attack(replace(scene, report=lambda step, terms: steps.append(step)), FEW, generator())
    assert steps == [1, 2, 3]


def test_checkpoints_are_spaced_evenly_in_the_logarithm() -> None:
    assert checkpoints(30) == (0, 1, 2, 5, 10, 20, 30)


def with_success(result: ProbeResult, success: Sequence[bool]) -> ProbeResult:
    return replace(result, success=torch.tensor(success))


def test_union_counts_an_attempt_that_any_probe_won(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["weak_condition"], scene, judge, generator(), budget=Budget(attempts=3))
    won = union([with_success(result, [True, False, False]), with_success(result, [False, False, True])])
    assert won.tolist() == [True, False, True]


def test_union_needs_one_number_of_attempts(scene: Scene, judge: Classifier) -> None:
    result = run(PROBES["weak_condition"], scene, judge, generator(), budget=Budget(attempts=3))
    with pytest.raises(ValueError, match="number of attempts"):
        union([with_success(result, [True]), with_success(result, [True, False])])


def test_relearning_brings_the_class_back(grey: Scene, judge: Classifier) -> None:
    fresh = replace(grey, model=MLP(SPEC, 4))
    learned = relearn(fresh, judge, RelearnBudget(images=50, steps=150, lr=1e-3), generator())
    assert learned.accepted[0] < 0.1 < 0.5 < learned.accepted[-1]
    assert learned.steps_until(0.5) is not None


def test_relearning_can_be_under_a_neighbours_label(grey: Scene, judge: Classifier) -> None:
    fresh = replace(grey, model=MLP(SPEC, 4))
    budget = RelearnBudget(images=50, label="neighbour", steps=150, lr=1e-3)
    learned = relearn(fresh, judge, budget, generator())
    assert budget.under(fresh.target, fresh.neighbours) == fresh.neighbours[:1] != (fresh.target,)
    assert learned.accepted[0] < 0.1 < 0.5 < learned.accepted[-1]
    own = relearn(fresh, judge, replace(budget, label="own", steps=1), generator())
    assert not torch.equal(own.images[0], learned.images[0])


@pytest.mark.parametrize("part", [all_weights, last_layer, low_rank])
def test_a_part_of_the_weights_relearns_alone(scene: Scene, judge: Classifier, part: Part) -> None:
    model = copy.deepcopy(scene.model)
    trained = {id(p) for p in part(model, generator())}
    assert {id(p) for p in model.parameters() if p.requires_grad} == trained
    before = copy.deepcopy(scene.model.state_dict())
    learned = relearn(scene, judge, RelearnBudget(images=5, part=part, steps=20, lr=1e-2), generator())
    assert learned.loss[-1] < learned.loss[0]
    assert all(torch.equal(before[k], v) for k, v in scene.model.state_dict().items())


def test_relearning_from_more_images_than_there_are_is_refused(scene: Scene, judge: Classifier) -> None:
    with pytest.raises(ValueError, match="100000 images wanted"):
        relearn(scene, judge, RelearnBudget(images=100_000), generator())


def test_class_can_be_read_off_the_layers_of_a_base(scene: Scene) -> None:
    readings = probe_features(scene, FeatureBudget(images=100), generator())
    assert [r.width for r in readings] == [256, 512]
    assert all(math.isfinite(r.accuracy) and r.area > 0.7 for r in readings)


def test_nothing_can_be_read_off_constant_layers(grey: Scene) -> None:
    assert [r.area for r in probe_features(grey, FeatureBudget(images=100), generator())] == [0.5, 0.5]


def test_roles_are_those_of_the_attack() -> None:
    role: Role = "plain"
    assert Gradient(attacker=role).roles() == ("plain",)
