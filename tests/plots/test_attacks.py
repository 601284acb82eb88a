"""Figures of recovery attacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sa_mlops.plots.attacks import (
    attack_strips,
    loss_along_paths,
    prediction_histogram,
    relearning,
    success_against_budget,
)
from sa_mlops.plots.curves import Curve
from sa_mlops.plots.grids import Answers
from sa_mlops.plots.style import LIGHT, SERIES_COLOURS, Floats, Theme

CLASSES = tuple("0123456789")
STEPS = np.array([1.0, 10, 100, 1000])
CURVES = [
    Curve("base", STEPS, np.array([0.1, 0.5, 0.9, 1.0]), np.full(4, 0.05), np.ones(4)),
    Curve("amnesia", STEPS, np.zeros(4)),
]
COUNTS = np.zeros((2, 10), dtype=np.int64)
COUNTS[0, 1], COUNTS[0, 7] = 190, 10
COUNTS[1, 1], COUNTS[1, 4] = 4, 196


class TestStrips:
    @pytest.fixture
    def images(self, rng: np.random.Generator) -> Floats:
        return rng.random((2, 5, 1, 28, 28), dtype=np.float32)

    @pytest.fixture
    def answers(self) -> Answers:
        return Answers(np.array([[7, 7, 7, 1, 1], [7, 7, 7, 7, 7]]), np.full((2, 5), 0.5))

    def test_only_hits_have_the_accent_colour(self, images: Floats, answers: Answers) -> None:
        figure = attack_strips(images, answers, title="", classes=CLASSES, target=1, rows=["joint", "pixel"])
        hits = [t.get_text() for t in figure.axes[0].texts if to_hex(t.get_color()) == LIGHT.accent]
        assert hits == ["1 50%", "1 50%"]


class TestHistogram:
    def test_the_title_gives_each_model_s_share(self, title: Callable[[Figure], str]) -> None:
        figure = prediction_histogram(COUNTS, models=["base", "amnesia"], classes=CLASSES, target=1)
        assert title(figure) == "Judged as 1: base 95%, amnesia 2%"

    def test_bars_are_shares_of_the_attempts(self) -> None:
        axes = prediction_histogram(COUNTS, models=["base", "amnesia"], classes=CLASSES, target=1).axes[0]
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == pytest.approx((COUNTS / 200).ravel())

    def test_the_target_is_marked_on_the_axis(self) -> None:
        axes = prediction_histogram(COUNTS, models=["base", "amnesia"], classes=CLASSES, target=1).axes[0]
        marked = [c for c, t in enumerate(axes.get_xticklabels()) if to_hex(t.get_color()) == LIGHT.accent]
        assert marked == [1]


class TestBudget:
    def test_shares_run_from_nothing_to_all(self) -> None:
        low, high = success_against_budget(CURVES, title="").axes[0].get_ylim()
        assert low <= 0 < 1 <= high

    def test_models_keep_their_colours_in_every_picture(self) -> None:
        pictures = (success_against_budget(CURVES, title=""), relearning(CURVES, title=""))
        colours = [[line.get_color() for line in figure.axes[0].lines] for figure in pictures]
        assert colours == [list(SERIES_COLOURS[:2])] * 2


def test_relearning_starts_at_step_zero(render: Callable[[Figure], Floats]) -> None:
    curve = Curve("base", np.array([0.0, 10, 100]), np.array([0.0, 0.5, 1.0]))
    figure = relearning([curve], title="")
    render(figure)
    assert figure.axes[0].get_xlim()[0] <= 0


def test_losses_are_drawn_from_zero_up_with_a_name_a_model(theme: Theme) -> None:
    figure = loss_along_paths(CURVES, title="joint")
    (axes,) = figure.axes
    assert axes.get_ylim()[0] == 0
    assert [line.get_label() for line in axes.lines] == [c.name for c in CURVES]
