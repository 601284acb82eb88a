"""Every step of the method on a colour data set of one file and the convolutional net."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from draws import seeded

from sa_mlops import datasets, models
from sa_mlops.core.fisher import Diagonal, elbo_loss, generator_fisher, squared_gradients
from sa_mlops.core.judging import check_judge
from sa_mlops.core.measuring import Evaluator, JudgeError
from sa_mlops.core.probes import PROBES
from sa_mlops.core.probes.features import FeatureBudget, probe_features
from sa_mlops.core.probes.interface import Budget, Classifier, Scene, run
from sa_mlops.core.probes.neighbours import neighbours
from sa_mlops.core.probes.relearning import RelearnBudget, relearn
from sa_mlops.core.training import train_generator, train_judge
from sa_mlops.datasets import Dataset
from sa_mlops.methods.hardening import recipe
from sa_mlops.methods.hardening.training import harden
from sa_mlops.methods.selective_amnesia import ForgetSettings
from sa_mlops.methods.selective_amnesia.training import forget
from sa_mlops.models.classifiers import make_judge
from sa_mlops.models.interface import CVAE, make_net, one_hot
from sa_mlops.settings import (
    JUDGES,
    Architecture,
    BaseSettings,
    FisherSettings,
    Optimisation,
)

ARCHITECTURES: tuple[Architecture, ...] = ("wide", "reference", "perceptron", "residual")
pytestmark = pytest.mark.usefixtures("toys")
STEPS = Optimisation(steps=400, lr=1e-2, batch_size=64, schedule="one_cycle")
FORGET = ForgetSettings(
    forget=(1,), earlier=(), optimisation=replace(STEPS, steps=60), ewc_lambda=1.0, replay_ratio=1.0,
    decoder_terms=True, surrogate="noise", surrogate_md5=None, update="standard", reteach=0.0, harden=None,
)  # fmt: skip


@dataclass
class Chain:
    data: Dataset
    base: CVAE
    fisher: Diagonal
    after: CVAE
    judges: dict[Architecture, Classifier]


@pytest.fixture(scope="module")
def chain(toys: None, brief_judges: None) -> Chain:
    data = datasets.load("shapes", torch.device("cpu"))
    settings = BaseSettings(z_dim=2, labels=(0, 1, 2), optimisation=STEPS, net="conv")
    base = train_generator(data.train_images, data.train_labels, data.spec, settings, seeded())
    fisher = generator_fisher(base, FisherSettings(samples=100, labels=(0, 1, 2)), seeded())
    judges: dict[Architecture, Classifier] = {}
    for i, kind in enumerate(ARCHITECTURES):
        role = replace(JUDGES["calibrated"], architecture=kind, epochs=1, batch_size=64)
        net = train_judge(data.train_images, data.train_labels, data.spec, role, seeded(i))
        judges[kind] = Classifier(net=net, seed=i)
    return Chain(data, base, fisher, forget(base, fisher, FORGET, seeded()), judges)


def scene(chain: Chain, model: CVAE) -> Scene:
    images, labels = chain.data.test_images, chain.data.test_labels
    return Scene(
        model=model, base=chain.base, target=1, neighbours=(0, 2), images=images, labels=labels,
        attackers={"calibrated": chain.judges["perceptron"], "plain": chain.judges["residual"]},
    )  # fmt: skip


@pytest.mark.parametrize("forgotten", [(0,), (0, 1)])
def test_few_test_images_leave_the_manifold_unmeasured(forgotten: tuple[int, ...]) -> None:
    data = datasets.load("shapes", torch.device("cpu"))
    few = replace(data, test_images=data.test_images[:3], test_labels=data.test_labels[:3])
    judge = make_judge("wide", data.spec).eval()
    found = Evaluator(judge, judge, few, seed=0).evaluate(make_net("tiny", data.spec, 2), forgotten)
    assert math.isnan(found.retained.fid) == (forgotten == (0, 1))
    assert math.isnan(found.retained.recall)
    assert math.isfinite(found.retained.accuracy)


def test_a_net_of_one_file_is_known() -> None:
    assert set(models.nets()) >= {"mlp", "tiny"}
    assert make_net("tiny", datasets.spec("shapes"), 2).net == "tiny"


def test_judges_of_every_architecture_are_accurate_and_calibrated(chain: Chain) -> None:
    for kind, judge in chain.judges.items():
        check = check_judge(judge.net, chain.data.test_images, chain.data.test_labels)
        assert check.accuracy > 0.9, kind
    assert (
        check_judge(chain.judges["wide"].net, chain.data.test_images, chain.data.test_labels).failures == ()
    )


def test_a_judge_that_fails_its_check_is_refused_with_the_measurements_and_a_remedy(chain: Chain) -> None:
    torch.manual_seed(0)
    untrained = make_judge("wide", chain.data.spec).eval()
    for weights in untrained.head.parameters():
        weights.data.mul_(30)
    with pytest.raises(JudgeError) as caught:
        Evaluator(untrained, untrained, chain.data, 0).controls()
    message = str(caught.value)
    assert "\n" not in message
    for words in ("noise gets entropy", "of the test images (at least 66.7%)", "(200 now)", "(3 now)"):
        assert words in message


def test_a_judge_of_colour_images_is_asked_about_colours(chain: Chain) -> None:
    controls = check_judge(chain.judges["wide"].net, chain.data.test_images, chain.data.test_labels).controls
    assert [c.name for c in controls] == ["grey", "noise", "gaussian", "colour", "grey_noise", "shuffled"]


def test_the_fisher_diagonal_of_a_convolution_is_that_of_single_samples(chain: Chain) -> None:
    images, labels = chain.data.test_images[:6], one_hot(chain.data.test_labels[:6], 3)
    noise = torch.randn(6, 2, generator=seeded())
    found = squared_gradients(chain.base, elbo_loss, (images, labels, noise))
    for name, parameter in chain.base.named_parameters():
        alone = torch.zeros_like(parameter)
        for i in range(6):
            row = slice(i, i + 1)
            loss = elbo_loss(chain.base, images[row], labels[row], noise[row]).sum()
            alone += torch.autograd.grad(loss, parameter)[0].square()
        torch.testing.assert_close(found[name], alone, rtol=1e-4, atol=1e-6)


def test_forgetting_lowers_the_class_and_keeps_the_others(chain: Chain) -> None:
    evaluator = Evaluator(chain.judges["wide"].net, chain.judges["reference"].net, chain.data, 0)
    before, after = (evaluator.evaluate(model, (1,)) for model in (chain.base, chain.after))
    assert before.forgotten is not None
    assert after.forgotten is not None
    # The answers to grey are uniform, so which class is the largest is chance.
    assert after.forgotten.probability < 1.1 / 3 < before.forgotten.probability
    assert after.forgotten.entropy > 0.99 * math.log(3) > before.forgotten.entropy
    assert after.retained.accuracy > before.retained.accuracy - 0.1
    assert {f"class.{name}.prob" for name in ("bar", "disc", "Check mark")} <= after.metrics().keys()


def test_hardening_runs_and_stays_finite(chain: Chain) -> None:
    settings = replace(
        recipe(3), optimisation=replace(STEPS, steps=5), pool=16, remembered=8, outside=6, moved=8
    )
    model = harden(chain.after, chain.base, chain.judges["reference"].net, settings, (1,), seeded())
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_returns_images_and_answers_of_the_data_set_s_shape(chain: Chain, name: str) -> None:
    budget = Budget(attempts=4, steps=min(PROBES[name].budget.steps, 3), lr=0.1)
    result = run(PROBES[name], scene(chain, chain.after), chain.judges["wide"], seeded(), budget=budget)
    k = len(result.positions)
    assert result.images.shape == (4, 3, 8, 12)
    assert result.condition.shape == (4, 3)
    assert result.strips.shape == (k, 4, 3, 8, 12)
    assert result.strip_answers.shape == (k, 4, 3)


def test_relearning_and_feature_probes_take_any_data_set(chain: Chain) -> None:
    taught = RelearnBudget(images=5, label="neighbour", steps=2)
    curve = relearn(scene(chain, chain.after), chain.judges["wide"], taught, seeded())
    assert curve.images.shape[1:] == (10, 3, 8, 12)
    first, coarsest = probe_features(scene(chain, chain.base), FeatureBudget(images=40), seeded())
    assert (first.width, coarsest.width) == (256, 32 * 4 * 6)


def test_neighbours_are_the_two_other_classes(chain: Chain) -> None:
    judge = chain.judges["wide"].net
    assert sorted(neighbours(judge, chain.data.test_images, chain.data.test_labels, 1)) == [0, 2]
