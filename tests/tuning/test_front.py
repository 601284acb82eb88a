"""The front, its knee and its hypervolume, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sa_mlops.tuning.front import hypervolume, knee, on_front

LOSSES = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [3.0, 3.0], [2.0, 2.5]])
ALL = np.ones(5, dtype=bool)


def test_front_leaves_out_dominated_trials() -> None:
    assert on_front(LOSSES, ALL).tolist() == [True, True, True, False, False]


def test_trial_that_is_no_worse_in_one_loss_and_better_in_the_other_dominates() -> None:
    assert on_front(np.array([[1.0, 1.0], [1.0, 2.0]]), ALL[:2]).tolist() == [True, False]


def test_equal_trials_stay_on_the_front_together() -> None:
    assert on_front(np.array([[1.0, 2.0], [1.0, 2.0]]), ALL[:2]).tolist() == [True, True]


def test_infeasible_trial_is_not_on_the_front() -> None:
    assert on_front(LOSSES, np.array([True, False, True, True, True])).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_infeasible_trial_dominates_nobody() -> None:
    assert on_front(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([False, True])).tolist() == [False, True]


def test_front_of_three_losses_keeps_trials_that_two_losses_would_drop() -> None:
    losses = np.array([[1.0, 1.0, 9.0], [2.0, 2.0, 1.0]])
    assert on_front(losses, ALL[:2]).tolist() == [True, True]
    assert on_front(losses[:, :2], ALL[:2]).tolist() == [True, False]


def test_front_of_no_trials_is_empty() -> None:
    assert on_front(np.empty((0, 2)), np.empty(0, dtype=bool)).tolist() == []


def test_knee_lies_below_the_chord_between_the_ends() -> None:
    assert knee(LOSSES[:3]) == 1


def test_knee_does_not_depend_on_units() -> None:
    assert knee(LOSSES[:3] * [1000.0, 0.01] + [5.0, -3.0]) == 1


def test_knee_of_a_single_point_is_that_point() -> None:
    assert knee(LOSSES[:1]) == 0


def test_knee_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty front"):
        knee(np.empty((0, 2)))


def test_hypervolume_of_one_point_is_its_rectangle() -> None:
    assert hypervolume(np.array([[1.0, 2.0]]), (4.0, 4.0)) == pytest.approx(6.0)


def test_hypervolume_counts_overlaps_once() -> None:
    # (5-1)(5-4) + (5-2)(4-2) + (5-4)(2-1)
    assert hypervolume(LOSSES[:3], (5.0, 5.0)) == pytest.approx(4 + 6 + 1)


def test_dominated_points_add_no_hypervolume() -> None:
    assert hypervolume(LOSSES, (5.0, 5.0)) == pytest.approx(hypervolume(LOSSES[:3], (5.0, 5.0)))


def test_points_beyond_the_reference_add_no_hypervolume() -> None:
    assert hypervolume(np.array([[6.0, 0.0], [0.0, 6.0]]), (5.0, 5.0)) == 0.0


def test_hypervolume_of_nothing_is_zero() -> None:
    assert hypervolume(np.empty((0, 2)), (1.0, 1.0)) == 0.0
