"""Slices, importances and contours: what is on them, and that odd studies can be drawn too."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from sa_mlops.plots.style import to_png
from sa_mlops.plots.tuning import contours, importance, positive_and_wide, slices

TRIALS = 12
RANDOM = np.random.default_rng(0)
LAMBDA = 10 ** RANDOM.uniform(-1, 5, TRIALS)
REPLAY = 10 ** RANDOM.uniform(-1, 0, TRIALS)
STEPS = RANDOM.integers(30, 150, TRIALS).astype(float)
GAP = 10 ** RANDOM.uniform(-4, 0, TRIALS)
FRONT = np.arange(TRIALS) % 4 == 0


def visible(figure: Figure) -> list[str]:
    return [a.get_xlabel() for a in figure.axes if a.get_visible() and a.get_xlabel()]


def test_slices_show_every_objective_over_every_parameter() -> None:
    values = {"ewc_lambda": LAMBDA, "steps": STEPS, "surrogate": np.array(["noise", "grey"] * 6)}
    figure = slices(values, {"gap": GAP, "retention": REPLAY}, on_front=FRONT)
    assert len(figure.axes) == 6


def test_slices_of_numbers_are_logarithmic_and_of_words_are_not() -> None:
    figure = slices({"steps": STEPS, "update": np.array(["standard"] * TRIALS)}, {"gap": GAP}, on_front=FRONT)
    assert [a.get_xscale() for a in figure.axes] == ["log", "linear"]


def test_importance_is_titled_by_the_most_important() -> None:
    figure = importance({"gap": {"lr": 0.7, "steps": 0.3}, "retention": {"lr": 0.1, "steps": 0.9}})
    assert figure.get_suptitle() == "Most important: lr for the gap, steps for the retention"


@pytest.mark.parametrize(("count", "pairs"), [(2, 1), (3, 3)])
def test_contours_show_every_pair(count: int, pairs: int) -> None:
    values = dict(list({"ewc_lambda": LAMBDA, "replay_ratio": REPLAY, "steps": STEPS}.items())[:count])
    assert len(visible(contours(values, GAP, name="gap", on_front=FRONT))) == pairs


def test_contours_of_trials_in_a_line_are_drawn_without_colours() -> None:
    assert to_png(contours({"a": LAMBDA, "b": LAMBDA * 2}, GAP, name="gap", on_front=FRONT), dpi=50)


def test_contours_of_an_objective_that_never_changes_are_drawn() -> None:
    assert to_png(contours({"a": LAMBDA, "b": REPLAY}, np.ones(TRIALS), name="gap", on_front=FRONT), dpi=50)


@pytest.mark.parametrize(
    ("values", "wide"), [([1.0, 2.0], False), ([0.001, 1.0], True), ([0.0, 1.0], False), ([], False)]
)
def test_logarithmic_scale_is_for_wide_positive_values(values: list[float], wide: bool) -> None:
    assert positive_and_wide(np.array(values)) is wide
