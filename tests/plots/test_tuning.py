"""Trials between forgetting and retention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from sa_mlops.plots.style import Floats, Theme
from sa_mlops.plots.tuning import Reference, pareto_front

GAP = np.array([0.30, 0.01, 0.10, 0.50])
RETENTION = np.array([0.90, 0.93, 0.96, 0.50])
FRONT = np.array([False, True, True, False])
FEASIBLE = np.array([True, True, True, False])


def labels(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [t.get_text() for t in legend.get_texts()]


def test_it_is_drawn(theme: Theme, render: Callable[[Figure], Floats]) -> None:
    figure = pareto_front(
        GAP,
        RETENTION,
        FRONT,
        feasible=FEASIBLE,
        knee=2,
        references=[Reference("paper", 0.02, 0.9)],
        theme=theme,
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


def test_the_legend_names_only_what_is_shown() -> None:
    assert labels(pareto_front(GAP, RETENTION, FRONT)) == ["trial", "front"]


def test_the_legend_explains_the_crosses() -> None:
    assert "breaks the constraint" in labels(pareto_front(GAP, RETENTION, FRONT, feasible=FEASIBLE))


def test_a_single_trial_can_be_drawn(render: Callable[[Figure], Floats]) -> None:
    figure = pareto_front(np.array([0.1]), np.array([0.9]), np.array([True]), knee=0)
    assert render(figure).size
