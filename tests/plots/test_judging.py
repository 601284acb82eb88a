"""Whether a judge can be believed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from sa_mlops.plots.judging import control_answers, reliability_diagram
from sa_mlops.plots.style import Floats

CONFIDENCE = np.array([np.nan, 0.3, 0.5, 0.7, 0.95])
ACCURACY = np.array([np.nan, 0.2, 0.6, 0.7, 0.97])
COUNT = np.array([0, 10, 20, 100, 9000])
UNIFORM = np.full((3, 10), 0.1)

CLASSES = tuple("0123456789")


class TestReliability:
    def test_it_is_drawn(self, render: Callable[[Figure], Floats]) -> None:
        figure = reliability_diagram(CONFIDENCE, ACCURACY, COUNT, ece=0.012)
        assert len(np.unique(render(figure))) > 20

    def test_the_title_gives_the_calibration_error_in_points(self, title: Callable[[Figure], str]) -> None:
        figure = reliability_diagram(CONFIDENCE, ACCURACY, COUNT, ece=0.012)
        assert title(figure) == "The judge's confidence is off by 1.2 points on average (ECE)"

    def test_empty_bins_have_no_point(self) -> None:
        line = reliability_diagram(CONFIDENCE, ACCURACY, COUNT, ece=0.0).axes[0].lines[1]
        assert np.array_equal(line.get_xydata(), np.stack([CONFIDENCE, ACCURACY], axis=1)[1:])

    def test_every_bin_shows_its_number_of_samples(self) -> None:
        bars = reliability_diagram(CONFIDENCE, ACCURACY, COUNT, ece=0.0).axes[1].patches
        assert [bar.get_height() for bar in bars] == COUNT.tolist()


class TestControls:
    NAMES = ("grey", "noise", "gaussian")

    def test_the_title_gives_the_worst_control(self, title: Callable[[Figure], str]) -> None:
        answers = UNIFORM.copy()
        answers[1] = [0.55, *[0.05] * 9]
        entropy = -0.55 * np.log(0.55) - 9 * 0.05 * np.log(0.05)
        assert title(control_answers(answers, names=self.NAMES, classes=CLASSES)) == (
            f"No class above 0.55, entropy at least {entropy:.2f} nats (uniform: 2.30)"
        )

    @pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
    def test_there_is_one_panel_a_control(self, count: int) -> None:
        names = [f"control {i}" for i in range(count)]
        figure = control_answers(np.full((count, 10), 0.1), names=names, classes=CLASSES)
        shown = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
        assert shown == names

    def test_a_certain_answer_has_no_entropy(self, title: Callable[[Figure], str]) -> None:
        certain = np.eye(10)[:1]
        assert "at least 0.00 nats" in title(control_answers(certain, names=["grey"], classes=CLASSES))

    def test_all_panels_have_one_scale(self) -> None:
        answers = UNIFORM.copy()
        answers[1] = [0.55, *[0.05] * 9]
        assert (
            len(
                {axes.get_ylim() for axes in control_answers(answers, names=self.NAMES, classes=CLASSES).axes}
            )
            == 1
        )
