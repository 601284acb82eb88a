"""The two training loops, on scikit-learn's digits."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from draws import Recorder, seeded
from torch import Tensor, nn

from sa_mlops.core import training
from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.judging import JudgeCheck, check_judge
from sa_mlops.core.training import (
    MIN_JUDGE_STEPS,
    Adam,
    Batches,
    NotFiniteError,
    Watch,
    check_finite,
    judge_steps,
    make_optimiser,
    shifted,
    train_generator,
    train_judge,
)
from sa_mlops.datasets import Dataset, load
from sa_mlops.models.mlp import MLP
from sa_mlops.settings import BaseSettings, JudgeSettings, Optimisation

SHORT = Optimisation(steps=5, lr=1e-3, batch_size=32, schedule="constant")
BASE = BaseSettings(z_dim=2, labels=tuple(range(10)), optimisation=SHORT)
JUDGE = JudgeSettings(
    architecture="perceptron", calibrated=False, epochs=1, lr=3e-3, batch_size=8, seed_offset=0
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", torch.device("cpu"))


class TestBatches:
    def test_an_epoch_covers_every_row_once(self) -> None:
        batches = Batches(12, 4, seeded())
        rows = torch.cat([batches.next() for _ in range(3)])
        assert sorted(rows.tolist()) == list(range(12))

    def test_the_next_epoch_has_another_order(self) -> None:
        batches = Batches(50, 50, seeded())
        assert not torch.equal(batches.next(), batches.next())

    def test_the_ragged_tail_is_left_out(self) -> None:
        batches = Batches(10, 4, seeded())
        assert [len(batches.next()) for _ in range(6)] == [4] * 6

    def test_fewer_rows_than_a_batch_are_all_taken(self) -> None:
        assert sorted(Batches(3, 256, seeded()).next().tolist()) == [0, 1, 2]


class TestSchedule:
    def rates(self, optimisation: Optimisation) -> list[float]:
        adam, schedule = make_optimiser([nn.Parameter(torch.zeros(1))], optimisation)
        rates = []
        for _ in range(optimisation.steps):
            rates.append(adam.param_groups[0]["lr"])
            adam.step()
            schedule.step()
        return rates

    def test_constant_keeps_the_rate(self) -> None:
        assert set(self.rates(replace(SHORT, steps=50, lr=1e-4))) == {1e-4}

    def test_one_cycle_rises_to_the_rate_and_falls_to_nearly_zero(self) -> None:
        rates = self.rates(replace(SHORT, steps=100, lr=3e-3, schedule="one_cycle"))
        peak = rates.index(max(rates))
        assert rates[: peak + 1] == sorted(rates[: peak + 1])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert rates[peak] == pytest.approx(3e-3, rel=1e-2)
        assert rates[-1] < 1e-3 * rates[peak]

    def test_one_cycle_of_a_single_step_is_no_error(self) -> None:
        assert len(self.rates(replace(SHORT, steps=1, schedule="one_cycle"))) == 1

    def test_adam_is_pytorch_s_own_without_its_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def trained(kind: type[torch.optim.Adam]) -> Tensor:
            weight = nn.Parameter(torch.linspace(-1, 1, 50))
            adam = kind([weight], lr=0.1, fused=True)
            for _ in range(20):
                adam.zero_grad()
                (weight**3 - weight).sum().backward()
                adam.step()
            return weight.detach()

        expected = trained(torch.optim.Adam)
        monkeypatch.setitem(sys.modules, "torch._dynamo", None)
        assert torch.equal(trained(Adam), expected)


class TestFinite:
    def test_an_error_names_step_and_term(self) -> None:
        with pytest.raises(NotFiniteError, match=r"^ewc is not finite at step 7$"):
            check_finite(7, {"forget": torch.tensor(1.0), "ewc": torch.tensor(float("nan"))})

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_watching_finds_the_first_step_and_not_the_last(self, value: float) -> None:
        watch = Watch(lambda step, terms: None)
        for step, b in enumerate([1.0, value, 1.0], start=1):
            watch(step, {"a": torch.tensor(1.0), "b": torch.tensor(b)})
        with pytest.raises(NotFiniteError, match=r"^b is not finite at step 2$"):
            watch.check()

    def test_watching_finite_terms_finds_nothing(self) -> None:
        watch = Watch(lambda step, terms: None)
        watch(1, {"a": torch.tensor(1e38)})
        watch.check()

    def test_a_report_that_notices_late_is_told_where_it_began(self) -> None:
        def every_fifth(step: int, terms: Mapping[str, Tensor]) -> None:
            if step % 5 == 0:
                check_finite(step, terms)

        watch = Watch(every_fifth)
        lost = torch.tensor(float("nan"))
        for step in range(1, 5):
            watch(
                step,
                {
                    "a": lost if step >= 4 else torch.tensor(1.0),
                    "b": lost if step >= 3 else torch.tensor(1.0),
                },
            )
        with pytest.raises(NotFiniteError, match=r"^b is not finite at step 3$"):
            watch(5, {"a": lost, "b": lost})


class TestGenerator:
    def test_an_image_that_is_not_finite_stops_it_and_names_the_term(self, digits: Dataset) -> None:
        images = torch.full_like(digits.train_images, float("nan"))
        with pytest.raises(NotFiniteError, match="reconstruction is not finite at step 1"):
            train_generator(images, digits.train_labels, digits.spec, BASE, seeded())

    def test_the_seed_alone_decides_the_tensors(self, digits: Dataset) -> None:
        def made(state: int, seed: int) -> dict[str, Tensor]:
            torch.manual_seed(state)
            images, labels = digits.train_images, digits.train_labels
            return train_generator(images, labels, digits.spec, BASE, seeded(seed)).state_dict()

        first, again, other = made(1, 3), made(2, 3), made(1, 4)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)

    def test_a_class_left_out_is_never_seen(self, digits: Dataset) -> None:
        images = digits.train_images.clone()
        images[digits.train_labels == 1] = float("nan")
        settings = replace(BASE, labels=tuple(c for c in range(10) if c != 1))
        net = train_generator(images, digits.train_labels, digits.spec, settings, seeded())
        assert all(bool(p.isfinite().all()) for p in net.parameters())

    def test_the_loss_reported_is_the_sum_of_its_terms(self, digits: Dataset) -> None:
        recorder = Recorder()
        train_generator(
            digits.train_images, digits.train_labels, digits.spec, BASE, seeded(), report=recorder
        )
        for terms in recorder.terms:
            assert terms["loss"] == pytest.approx(terms["reconstruction"] + terms["divergence"], rel=1e-5)

    def test_terms_do_not_depend_on_the_batch_size(self, digits: Dataset) -> None:
        first = []
        for size in (32, 512):
            recorder = Recorder()
            settings = replace(BASE, optimisation=replace(SHORT, steps=1, batch_size=size))
            train_generator(
                digits.train_images, digits.train_labels, digits.spec, settings, seeded(), report=recorder
            )
            first.append(recorder.terms[0]["loss"])
        assert first[1] == pytest.approx(first[0], rel=0.02)

    def test_every_step_shows_the_net(self, digits: Dataset) -> None:
        seen: list[tuple[int, type]] = []
        train_generator(
            digits.train_images,
            digits.train_labels,
            digits.spec,
            BASE,
            seeded(),
            on_step=lambda s, m: seen.append((s, type(m))),
        )
        assert seen == [(s, MLP) for s in range(1, 6)]

    def test_training_lowers_the_bound_on_unseen_digits(self, digits: Dataset) -> None:
        optimisation = Optimisation(steps=300, lr=3e-3, batch_size=64, schedule="one_cycle")
        net = train_generator(
            digits.train_images,
            digits.train_labels,
            digits.spec,
            replace(BASE, optimisation=optimisation),
            seeded(),
        )
        noise = torch.zeros(len(digits.test_images), 2)
        with torch.no_grad():
            found = negative_elbo(net, digits.test_images, digits.test_labels, noise).total.mean().item()
        # An untrained net says 0.5 everywhere: 784 ln 2 = 543 nats.
        assert found < 0.6 * 784 * math.log(2)


class TestJudge:
    @pytest.fixture(scope="class")
    def checks(self, digits: Dataset) -> dict[str, JudgeCheck]:
        settings = JudgeSettings(
            architecture="reference", calibrated=False, epochs=1, lr=3e-3, batch_size=32, seed_offset=0
        )
        found = {}
        for name, calibrated in (("plain", False), ("calibrated", True)):
            judge = train_judge(
                digits.train_images,
                digits.train_labels,
                digits.spec,
                replace(settings, calibrated=calibrated),
                seeded(),
            )
            found[name] = check_judge(judge, digits.test_images, digits.test_labels)
        return found

    @pytest.mark.parametrize("name", ["plain", "calibrated"])
    def test_it_reads_digits(self, checks: dict[str, JudgeCheck], name: str) -> None:
        assert checks[name].accuracy > 0.93

    @pytest.mark.parametrize("control", [0, 1, 2], ids=["grey", "noise", "gaussian"])
    def test_a_calibrated_classifier_is_uncertain_on_images_without_a_digit(
        self, checks: dict[str, JudgeCheck], control: int
    ) -> None:
        assert checks["calibrated"].controls[control].entropy > 2.25

    @pytest.mark.parametrize("control", [0, 1, 2], ids=["grey", "noise", "gaussian"])
    def test_a_plain_one_believes_that_it_can(self, checks: dict[str, JudgeCheck], control: int) -> None:
        plain, calibrated = (checks[name].controls[control] for name in ("plain", "calibrated"))
        assert plain.entropy < calibrated.entropy - 0.5

    def test_the_same_seed_gives_equal_tensors(
        self, digits: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(training, "MIN_JUDGE_STEPS", 20)
        a, b = (
            train_judge(
                digits.train_images[:64],
                digits.train_labels[:64],
                digits.spec,
                replace(JUDGE, calibrated=True),
                seeded(3),
            ).state_dict()
            for _ in range(2)
        )
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_it_comes_back_ready_to_answer(self, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "MIN_JUDGE_STEPS", 1)
        judge = train_judge(digits.train_images[:64], digits.train_labels[:64], digits.spec, JUDGE, seeded())
        assert not judge.training

    def test_an_image_that_is_not_finite_stops_it_at_its_step(self, digits: Dataset) -> None:
        images = torch.full_like(digits.train_images, float("nan"))
        with pytest.raises(NotFiniteError, match="loss is not finite at step 1"):
            train_judge(images, digits.train_labels, digits.spec, JUDGE, seeded())

    def test_epochs_decide_how_long_it_learns(self) -> None:
        assert judge_steps(replace(JUDGE, epochs=4, batch_size=256), 60_000) == 4 * 234

    @pytest.mark.parametrize("rows", [1, 100, 1437])
    def test_a_small_data_set_gets_more_epochs(self, rows: int) -> None:
        assert judge_steps(replace(JUDGE, epochs=1, batch_size=256), rows) == MIN_JUDGE_STEPS


class TestShifting:
    def dot(self) -> Tensor:
        image = torch.zeros(1, 1, 28, 28)
        image[..., 14, 14] = 1.0
        return image

    def test_the_image_moves_by_at_most_two_pixels(self) -> None:
        generator = seeded()
        places = {divmod(int(shifted(self.dot(), generator).argmax()), 28) for _ in range(300)}
        assert places == {(14 + dy, 14 + dx) for dy in range(-2, 3) for dx in range(-2, 3)}

    def test_edges_are_filled_with_black(self) -> None:
        generator = seeded()
        sums = {float(shifted(torch.ones(1, 1, 28, 28), generator).sum()) for _ in range(300)}
        assert sums == {float(a * b) for a in (26, 27, 28) for b in (26, 27, 28)}

    def test_all_images_of_a_batch_move_together(self) -> None:
        moved = shifted(self.dot().expand(5, -1, -1, -1), seeded())
        assert len(moved.flatten(1).argmax(dim=1).unique()) == 1
