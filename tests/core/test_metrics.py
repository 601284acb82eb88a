"""Metrics on values worked out by hand or in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from draws import seeded
from torch import Tensor

from sa_mlops.core.metrics.calibration import reliability
from sa_mlops.core.metrics.drift import fisher_distance
from sa_mlops.core.metrics.frechet import Moments, frechet_distance, moments
from sa_mlops.core.metrics.intervals import bootstrap_interval, difference_interval, wilson_interval
from sa_mlops.core.metrics.manifold import precision_recall
from sa_mlops.core.metrics.membership import membership_inference
from sa_mlops.core.metrics.nearest import nearest_real
from sa_mlops.core.metrics.objectives import forgetting_gap, retention
from sa_mlops.core.metrics.scores import ClassScores, class_scores, pixel_variance, sample_scores


def log_probs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def scored(
    label: int = 0, probability: float = 0.1, entropy: float = math.log(10), accuracy: float = 0.0
) -> ClassScores:
    return ClassScores(label=label, samples=1, probability=probability, entropy=entropy, accuracy=accuracy)


class TestScores:
    def test_probability_is_that_of_the_intended_class(self) -> None:
        scores = sample_scores(log_probs([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]), torch.tensor([0, 2]))
        torch.testing.assert_close(scores.probability, torch.tensor([0.7, 0.1]))

    def test_a_uniform_answer_has_the_entropy_ln_n(self) -> None:
        scores = sample_scores(torch.full((1, 10), -math.log(10)), torch.tensor([3]))
        assert float(scores.entropy) == pytest.approx(math.log(10), rel=1e-6)

    def test_a_certain_answer_has_no_entropy_instead_of_nan(self) -> None:
        assert float(sample_scores(log_probs([1.0, 0.0]), torch.tensor([0])).entropy) == 0.0

    def test_means_are_taken_class_by_class(self) -> None:
        table = class_scores(log_probs([0.9, 0.1], [0.5, 0.5], [0.7, 0.3]), torch.tensor([0, 1, 0]))
        assert [(s.label, s.samples) for s in table] == [(0, 2), (1, 1)]
        assert table[0].probability == pytest.approx(0.8)

    def test_accuracy_counts_first_choices(self) -> None:
        (scores,) = class_scores(log_probs([0.9, 0.1], [0.4, 0.6]), torch.tensor([0, 0]))
        assert scores.accuracy == 0.5

    def test_labels_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            sample_scores(torch.zeros(2, 10), torch.tensor([0]))

    def test_pixel_variance_is_over_pixels_and_not_over_samples(self) -> None:
        images = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.0, 1.0]])
        torch.testing.assert_close(pixel_variance(images), torch.tensor([0.0, 0.25]))


class TestObjectives:
    def test_an_answer_of_cannot_tell_has_no_gap(self) -> None:
        assert forgetting_gap([scored()], 10) == pytest.approx(0.0)

    def test_a_perfect_digit_has_a_gap_of_two(self) -> None:
        assert forgetting_gap([scored(probability=1.0, entropy=0.0)], 10) == pytest.approx(2.0)

    def test_a_sharp_wrong_digit_has_a_gap_of_one(self) -> None:
        assert forgetting_gap([scored(probability=0.0, entropy=0.0)], 10) == pytest.approx(1.0)

    def test_the_gap_is_the_mean_over_classes(self) -> None:
        assert forgetting_gap([scored(), scored(1, probability=1.0, entropy=0.0)], 10) == pytest.approx(1.0)

    def test_retention_weighs_the_worst_class_as_much_as_the_mean(self) -> None:
        assert retention([scored(accuracy=1.0), scored(1, accuracy=0.5)]) == pytest.approx(0.5 * (0.75 + 0.5))

    def test_no_class_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no forgotten class"):
            forgetting_gap([], 10)


class TestFrechet:
    def test_a_shift_counts_as_its_square(self) -> None:
        x = torch.randn(500, 3, generator=seeded())
        assert frechet_distance(moments(x), moments(x + torch.tensor([3.0, 4.0, 0.0]))) == pytest.approx(
            25.0, rel=1e-5
        )

    def test_commuting_covariances_have_a_closed_form(self) -> None:
        zero = torch.zeros(2, dtype=torch.float64)
        a = Moments(zero, torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
        b = Moments(zero, torch.diag(torch.tensor([9.0, 16.0], dtype=torch.float64)))
        assert frechet_distance(a, b) == pytest.approx((1 - 3) ** 2 + (2 - 4) ** 2)

    def test_non_commuting_covariances_agree_with_the_trace_of_the_2x2_root(self) -> None:
        # For 2x2 matrices tr(M^(1/2)) = sqrt(tr M + 2 sqrt(det M)).
        a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
        b = torch.tensor([[5.0, -2.0], [-2.0, 1.0]], dtype=torch.float64)
        root = math.sqrt(float((a @ b).trace()) + 2 * math.sqrt(float(torch.linalg.det(a @ b))))
        zero = torch.zeros(2, dtype=torch.float64)
        distance = frechet_distance(Moments(zero, a), Moments(zero, b))
        assert distance == pytest.approx(float(a.trace() + b.trace()) - 2 * root)

    def test_fewer_samples_than_features_stay_finite(self) -> None:
        x = torch.randn(5, 32, generator=seeded())
        assert frechet_distance(moments(x), moments(x + 1)) == pytest.approx(32.0, rel=1e-5)

    def test_covariance_is_the_unbiased_one(self) -> None:
        x = torch.randn(7, 3, generator=seeded())
        torch.testing.assert_close(moments(x).covariance, x.double().T.cov())

    def test_features_with_nan_are_refused(self) -> None:
        with pytest.raises(ValueError, match="not finite"):
            moments(torch.tensor([[0.0], [math.nan]]))


class TestPrecisionRecall:
    def test_a_generator_stuck_on_one_mode_is_precise_without_recall(self) -> None:
        near = torch.arange(10.0)[:, None]
        result = precision_recall(torch.cat([near, near + 1000]), near, neighbours=1)
        assert (result.precision, result.recall) == (1.0, 0.5)

    def test_a_point_on_the_border_belongs_to_the_manifold(self) -> None:
        real = torch.tensor([[0.0], [1.0], [10.0]])
        # Radii to the nearest neighbour: 1, 1 and 9. So [-1, 2] and [1, 19] are covered.
        generated = torch.tensor([[-1.0], [-1.5], [19.0], [19.5]])
        assert precision_recall(real, generated, neighbours=1).realistic.tolist() == [
            True,
            False,
            True,
            False,
        ]

    def test_agrees_with_a_loop_over_pairs(self) -> None:
        g = seeded()
        real, fake = torch.randn(40, 3, generator=g), 1.3 * torch.randn(30, 3, generator=g) + 0.5

        def on_manifold(point: Tensor, members: Tensor) -> bool:
            for member in members:
                radius = sorted(float((member - other).norm()) for other in members)[3]
                if float((point - member).norm()) <= radius:
                    return True
            return False

        result = precision_recall(real, fake)
        assert result.realistic.tolist() == [on_manifold(p, real) for p in fake]
        assert result.covered.tolist() == [on_manifold(p, fake) for p in real]

    def test_chunks_do_not_change_the_result(self) -> None:
        g = seeded()
        real, fake = torch.randn(40, 3, generator=g), torch.randn(30, 3, generator=g) + 1
        whole, parts = precision_recall(real, fake), precision_recall(real, fake, chunk=7)
        assert torch.equal(whole.realistic, parts.realistic)
        assert torch.equal(whole.covered, parts.covered)

    def test_too_few_samples_are_refused(self) -> None:
        with pytest.raises(ValueError, match="more than 3"):
            precision_recall(torch.zeros(3, 2), torch.zeros(9, 2))


class TestNearestReal:
    def test_finds_the_distance_of_the_closest_row(self) -> None:
        real = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        assert nearest_real(torch.tensor([[3.0, 0.0], [3.0, 4.0]]), [real]).tolist() == [3.0, 0.0]

    def test_a_copy_is_at_distance_exactly_zero(self) -> None:
        real = torch.rand(300, 1, 28, 28, generator=seeded())
        assert nearest_real(real[42:43], [real]).tolist() == [0.0]

    def test_parts_and_chunks_do_not_change_the_result(self) -> None:
        g = seeded()
        generated, real = torch.rand(20, 1, 28, 28, generator=g), torch.rand(50, 1, 28, 28, generator=g)
        assert torch.equal(nearest_real(generated, [real]), nearest_real(generated, real.split(7), chunk=3))

    def test_no_real_image_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one image"):
            nearest_real(torch.zeros(1, 1, 2, 2), [])


class TestIntervals:
    def test_bootstrap_of_normal_values_is_close_to_theory(self) -> None:
        x = torch.randn(4000, generator=seeded())
        interval = bootstrap_interval(x, seeded(1))
        half = 1.96 * float(x.std()) / math.sqrt(4000)
        assert interval.low == pytest.approx(float(x.mean()) - half, abs=0.003)
        assert interval.high == pytest.approx(float(x.mean()) + half, abs=0.003)

    def test_bootstrap_of_a_constant_is_a_point(self) -> None:
        interval = bootstrap_interval(torch.full((10,), 0.5), seeded())
        assert (interval.low, interval.high) == (0.5, 0.5)

    def test_wilson_agrees_with_the_published_example(self) -> None:
        # Newcombe (1998), table I: 81 of 263.
        interval = wilson_interval(81, 263)
        assert [interval.low, interval.high] == pytest.approx([0.2553, 0.3662], abs=5e-5)

    def test_wilson_of_no_success_starts_at_zero_and_is_not_empty(self) -> None:
        interval = wilson_interval(0, 20)
        assert interval.low == 0.0
        assert interval.high == pytest.approx(0.1611, abs=5e-5)

    def test_newcombe_agrees_with_the_published_example(self) -> None:
        # Newcombe (1998), table II, case a: 56/70 - 48/80.
        interval = difference_interval(56, 70, 48, 80)
        assert [interval.low, interval.high] == pytest.approx([0.0524, 0.3339], abs=5e-5)

    def test_more_successes_than_trials_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"k \(3\) must not be greater than n \(2\)"):
            wilson_interval(3, 2)


class TestReliability:
    def test_error_is_the_gap_weighted_by_bin(self) -> None:
        # Confidences 0.9 (right, wrong) and 0.6 (right): gaps 0.4 on two samples and 0.4 on one.
        result = reliability(log_probs([0.9, 0.1], [0.9, 0.1], [0.6, 0.4]), torch.tensor([0, 1, 0]), bins=10)
        assert result.ece == pytest.approx(0.4)

    def test_a_confidence_on_an_edge_falls_into_the_lower_bin(self) -> None:
        assert reliability(log_probs([0.5, 0.5]), torch.tensor([0]), bins=2).count.tolist() == [1, 0]

    def test_full_confidence_falls_into_the_last_bin(self) -> None:
        assert int(reliability(log_probs([1.0, 0.0]), torch.tensor([0])).count[-1]) == 1

    def test_an_empty_bin_has_no_accuracy(self) -> None:
        assert reliability(log_probs([1.0, 0.0]), torch.tensor([0])).accuracy[0].isnan()


class TestMembership:
    def test_ties_count_half(self) -> None:
        # Pairs: 1<2, 1=1, 2=2, 2>1 -> (1 + 1/2 + 1/2 + 0) / 4.
        assert membership_inference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), seeded()).auc == 0.5

    def test_area_counts_pairs(self) -> None:
        # 1 is below 2 and 5; 3 is below 5 only.
        assert membership_inference(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 5.0]), seeded()).auc == 0.75

    def test_the_interval_is_as_wide_as_theory_says(self) -> None:
        g = seeded()
        result = membership_inference(
            torch.randn(1000, generator=g), torch.randn(1000, generator=g), seeded(1)
        )
        # Under the null the standard error is sqrt((n + m + 1) / (12 n m)).
        width = 2 * 1.96 * math.sqrt(2001 / 12e6)
        assert result.interval.high - result.interval.low == pytest.approx(width, rel=0.1)

    def test_nan_losses_are_refused(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            membership_inference(torch.tensor([math.nan]), torch.tensor([1.0]), seeded())


class TestFisherDistance:
    def test_squares_are_weighted_and_summed_without_a_half(self) -> None:
        theta = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}
        anchor = {"w": torch.tensor([[0.0, 0.0]]), "b": torch.tensor([1.0])}
        fisher = {"w": torch.tensor([[10.0, 1.0]]), "b": torch.tensor([0.5])}
        assert fisher_distance(theta, anchor, fisher) == 10 * 1 + 1 * 4 + 0.5 * 4

    def test_a_missing_parameter_is_named(self) -> None:
        one = {"w": torch.ones(1)}
        with pytest.raises(ValueError, match="w is missing"):
            fisher_distance(one, one, {})

    def test_another_shape_is_named_instead_of_broadcast(self) -> None:
        one = {"w": torch.ones(2)}
        with pytest.raises(ValueError, match="w is missing or has another shape"):
            fisher_distance(one, one, {"w": torch.ones(1)})
