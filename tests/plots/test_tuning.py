"""Trials between forgetting and retention, slices, importances and contours; odd studies can be drawn too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from sa_mlops.plots.style import Floats
from sa_mlops.plots.tuning import Reference, contours, importance, pareto_front, positive_and_wide, slices

GAP = np.array([0.30, 0.01, 0.10, 0.50])
RETENTION = np.array([0.90, 0.93, 0.96, 0.50])
FRONT = np.array([False, True, True, False])
FEASIBLE = np.array([True, True, True, False])


def labels(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [t.get_text() for t in legend.get_texts()]


def test_it_is_drawn(render: Callable[[Figure], Floats]) -> None:
    figure = pareto_front(
        GAP, RETENTION, FRONT, feasible=FEASIBLE, knee=2, references=[Reference("paper", 0.02, 0.9)]
    )
    assert len(np.unique(render(figure))) > 20


def test_the_title_counts_the_front_and_describes_the_knee(title: Callable[[Figure], str]) -> None:
    figure = pareto_front(GAP, RETENTION, FRONT, knee=2)
    assert (
        title(figure) == "2 of 4 trials are on the front; the knee has a gap of 0.1 and a retention of 0.960"
    )


def test_without_a_knee_the_title_has_none(title: Callable[[Figure], str]) -> None:
    assert title(pareto_front(GAP, RETENTION, FRONT)) == "2 of 4 trials are on the front"


def test_the_front_is_a_line_from_the_smallest_gap_on() -> None:
    line = pareto_front(GAP, RETENTION, FRONT).axes[0].lines[0]
    assert np.array_equal(line.get_xydata(), [[0.01, 0.93], [0.10, 0.96]])


def test_trials_that_break_the_constraint_stand_apart() -> None:
    crosses = pareto_front(GAP, RETENTION, FRONT, feasible=FEASIBLE).axes[0].collections[0]
    assert np.asarray(crosses.get_offsets()).tolist() == [[0.50, 0.50]]


def test_references_are_named() -> None:
    figure = pareto_front(GAP, RETENTION, FRONT, references=[Reference("paper", 0.02, 0.9)])
    assert [t.get_text() for t in figure.axes[0].texts] == ["paper"]


def test_the_legend_names_only_the_marks_that_are_shown() -> None:
    assert labels(pareto_front(GAP, RETENTION, FRONT)) == ["trial", "front"]


def test_the_legend_explains_the_crosses() -> None:
    assert "breaks the constraint" in labels(pareto_front(GAP, RETENTION, FRONT, feasible=FEASIBLE))


def test_a_single_trial_can_be_drawn(render: Callable[[Figure], Floats]) -> None:
    figure = pareto_front(np.array([0.1]), np.array([0.9]), np.array([True]), knee=0)
    assert render(figure).size


TRIALS = 12
RANDOM = np.random.default_rng(0)
LAMBDA = 10 ** RANDOM.uniform(-1, 5, TRIALS)
REPLAY = 10 ** RANDOM.uniform(-1, 0, TRIALS)
STEPS = RANDOM.integers(30, 150, TRIALS).astype(float)
LOSS = 10 ** RANDOM.uniform(-4, 0, TRIALS)
BEST = np.arange(TRIALS) % 4 == 0


def visible(figure: Figure) -> list[str]:
    return [a.get_xlabel() for a in figure.axes if a.get_visible() and a.get_xlabel()]


def test_slices_show_every_objective_over_every_parameter() -> None:
    values = {"ewc_lambda": LAMBDA, "steps": STEPS, "surrogate": np.array(["noise", "grey"] * 6)}
    figure = slices(values, {"gap": LOSS, "retention": REPLAY}, on_front=BEST)
    assert len(figure.axes) == 6


def test_slices_of_numbers_are_logarithmic_and_of_words_are_not() -> None:
    figure = slices({"steps": STEPS, "update": np.array(["standard"] * TRIALS)}, {"gap": LOSS}, on_front=BEST)
    assert [a.get_xscale() for a in figure.axes] == ["log", "linear"]


def test_importance_is_titled_by_the_most_important() -> None:
    figure = importance({"gap": {"lr": 0.7, "steps": 0.3}, "retention": {"lr": 0.1, "steps": 0.9}})
    assert figure.get_suptitle() == "Most important: lr for the gap, steps for the retention"


@pytest.mark.parametrize(("count", "pairs"), [(2, 1), (3, 3)])
def test_contours_show_every_pair(count: int, pairs: int) -> None:
    values = dict(list({"ewc_lambda": LAMBDA, "replay_ratio": REPLAY, "steps": STEPS}.items())[:count])
    assert len(visible(contours(values, LOSS, name="gap", on_front=BEST))) == pairs


def test_contours_of_trials_in_a_line_are_drawn_without_colours(
    render: Callable[[Figure], Floats],
) -> None:
    assert render(contours({"a": LAMBDA, "b": LAMBDA * 2}, LOSS, name="gap", on_front=BEST)).size


def test_contours_of_an_objective_that_never_changes_are_drawn(
    render: Callable[[Figure], Floats],
) -> None:
    assert render(contours({"a": LAMBDA, "b": REPLAY}, np.ones(TRIALS), name="gap", on_front=BEST)).size


@pytest.mark.parametrize(
    ("values", "wide"), [([1.0, 2.0], False), ([0.001, 1.0], True), ([0.0, 1.0], False), ([], False)]
)
def test_logarithmic_scale_is_for_wide_positive_values(values: list[float], wide: bool) -> None:
    assert positive_and_wide(np.array(values)) is wide
