"""Curves over steps, and the spread of the Fisher information."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from sa_mlops.plots.curves import Curve, Term, gradient_norms, layer_fisher, loss_terms, smoothed
from sa_mlops.plots.style import Floats, Theme

X = np.arange(1, 51, dtype=float)


def curve(name: str, scale: float = 1.0) -> Curve:
    y = scale / X
    return Curve(name, X, y, y * 0.9, y * 1.1)


PANELS = [
    Term("forget", [curve("a"), curve("b", 2)]),
    Term("replay", [curve("a")]),
    Term("ewc", [curve("a")], log=True),
]


class TestLossTerms:
    def test_it_is_drawn(self, theme: Theme, render: Callable[[Figure], Floats]) -> None:
        assert len(np.unique(render(loss_terms(PANELS, title="Losses fall", theme=theme)))) > 20

    def test_there_is_a_panel_a_term(self) -> None:
        shown = [
            axes.get_title(loc="left") for axes in loss_terms(PANELS, title="").axes if axes.get_visible()
        ]
        assert shown == ["forget", "replay", "ewc"]

    def test_only_the_terms_that_ask_for_it_are_logarithmic(self) -> None:
        scales = [axes.get_yscale() for axes in loss_terms(PANELS, title="").axes[:3]]
        assert scales == ["linear", "linear", "log"]

    def test_lines_are_the_values_given(self) -> None:
        line = loss_terms(PANELS, title="").axes[0].lines[1]
        assert np.array_equal(line.get_xydata(), np.stack([X, 2 / X], axis=1))

    def test_two_runs_differ_without_colour(self) -> None:
        dashes = [line.get_linestyle() for line in loss_terms(PANELS, title="").axes[0].lines]
        assert len(set(dashes)) == 2

    def test_runs_are_named(self) -> None:
        legend = loss_terms(PANELS, title="").axes[0].get_legend()
        assert legend is not None
        assert [t.get_text() for t in legend.get_texts()] == ["a", "b"]

    def test_a_band_is_drawn_where_bounds_are_given(self) -> None:
        axes = loss_terms([Term("x", [curve("a"), Curve("b", X, X)])], title="").axes[0]
        assert len(axes.collections) == 1


def test_gradient_norms_are_logarithmic() -> None:
    assert gradient_norms([curve("a")], title="").axes[0].get_yscale() == "log"


def test_smoothing_takes_means_within_a_band() -> None:
    zigzag = smoothed(Curve("a", np.arange(7.0), np.array([0.0, 2, 0, 4, 1, 1, 9])), 2)
    assert zigzag.y.tolist() == [1, 2, 1]
    assert zigzag.x.tolist() == [0.5, 2.5, 4.5]
    assert zigzag.low is not None
    assert zigzag.low.tolist() == [0, 0, 1]
    assert zigzag.high is not None
    assert zigzag.high.tolist() == [2, 4, 1]


DIAGONAL = {"encoder.0.weight": np.array([[1.0, 2.0], [0.0, 0.0]]), "decoder.4.bias": np.array([9.0])}


class TestFisher:
    def test_it_is_drawn(self, render: Callable[[Figure], Floats]) -> None:
        assert len(np.unique(render(layer_fisher(DIAGONAL)))) > 20

    def test_the_title_says_where_the_information_is(self, title: Callable[[Figure], str]) -> None:
        assert title(layer_fisher(DIAGONAL)) == "decoder.4.bias holds 75% of the Fisher information"

    def test_layers_stand_in_the_order_given(self) -> None:
        axes = layer_fisher(DIAGONAL).axes[0]
        assert [t.get_text() for t in axes.get_yticklabels()] == list(DIAGONAL)
        assert axes.yaxis_inverted()

    def test_the_share_of_zeros_is_written_beside_each_layer(self) -> None:
        texts = [t.get_text() for t in layer_fisher(DIAGONAL).axes[0].texts]
        assert texts[:2] == ["50%", "0%"]

    @pytest.mark.parametrize("shape", [(3,), (2, 3)])
    def test_a_diagonal_of_zeros_can_be_drawn(
        self, shape: tuple[int, ...], render: Callable[[Figure], Floats]
    ) -> None:
        assert render(layer_fisher({"a": np.zeros(shape), "b": np.ones(2)})).size
