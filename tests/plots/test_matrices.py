"""Tables as heat maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sa_mlops.plots.matrices import class_table, forgetting_matrix
from sa_mlops.plots.style import Floats

CLASSES = tuple("0123456789")
STEPS = ["base", "0", "1"]
GONE = [(), (0,), (0, 1)]


@pytest.fixture
def values() -> Floats:
    table = np.full((3, 10), 0.95)
    table[1, 0], table[2, 0], table[2, 1] = 0.10, 0.13, 0.11
    table[2, 5] = 0.91
    return table


def framed(axes: Axes) -> list[tuple[int, int]]:
    """Row and column of the framed cells."""
    return sorted(
        (round(p.get_y() + 0.46), round(p.get_x() + 0.46)) for p in axes.patches if isinstance(p, Rectangle)
    )


class TestForgettingMatrix:
    def test_cells_of_forgotten_classes_are_framed(self, values: Floats) -> None:
        figure = forgetting_matrix(
            values, measure="probability", classes=CLASSES, steps=STEPS, forgotten=GONE
        )
        assert framed(figure.axes[0]) == [(1, 0), (2, 0), (2, 1)]

    def test_every_cell_has_its_number(self, values: Floats) -> None:
        figure = forgetting_matrix(
            values, measure="probability", classes=CLASSES, steps=STEPS, forgotten=GONE
        )
        assert [t.get_text() for t in figure.axes[0].texts] == [f"{v:.2f}" for v in values.ravel()]

    def test_the_title_gives_the_worst_of_both_sides(
        self, values: Floats, title: Callable[[Figure], str]
    ) -> None:
        figure = forgetting_matrix(
            values, measure="probability", classes=CLASSES, steps=STEPS, forgotten=GONE
        )
        assert title(figure) == ("Forgotten classes: probability at most 0.13; retained: at least 0.91")

    def test_entropy_is_better_when_it_is_high(self, values: Floats, title: Callable[[Figure], str]) -> None:
        figure = forgetting_matrix(
            2.3 - values, measure="entropy", classes=CLASSES, steps=STEPS, forgotten=GONE
        )
        assert title(figure) == "Forgotten classes have at least 2.17 of at most 2.30 nats"

    def test_before_anything_is_forgotten_the_title_says_so(
        self, values: Floats, title: Callable[[Figure], str]
    ) -> None:
        figure = forgetting_matrix(
            values[:1], measure="accuracy", classes=CLASSES, steps=STEPS[:1], forgotten=[()]
        )
        assert title(figure) == "Judge's accuracy before anything is forgotten"

    @pytest.mark.parametrize(
        ("measure", "high"), [("probability", 1.0), ("accuracy", 1.0), ("entropy", np.log(10))]
    )
    def test_the_scale_is_the_measure_s_and_not_the_data_s(
        self, values: Floats, measure: str, high: float
    ) -> None:
        figure = forgetting_matrix(
            0.1 * values, measure=measure, classes=CLASSES, steps=STEPS, forgotten=GONE
        )  # type: ignore[arg-type]
        assert figure.axes[0].get_images()[0].get_clim() == pytest.approx((0.0, high))

    def test_a_value_that_is_missing_leaves_its_cell_empty(self, values: Floats) -> None:
        values[0, 3] = np.nan
        figure = forgetting_matrix(
            values, measure="probability", classes=CLASSES, steps=STEPS, forgotten=GONE
        )
        assert len(figure.axes[0].texts) == 29


class TestClassTable:
    @pytest.fixture
    def table(self) -> Floats:
        table = np.full((10, 2), 0.01)
        table[8, 1] = 0.07
        return table

    def test_misses_are_framed(self, table: Floats) -> None:
        figure = class_table(table, name="gap", seeds=[0, 1], classes=CLASSES, limit=0.05, better="low")
        assert framed(figure.axes[0]) == [(1, 8)]

    def test_the_title_counts_hits_and_names_the_worst(
        self, table: Floats, title: Callable[[Figure], str]
    ) -> None:
        figure = class_table(table, name="gap", seeds=[0, 1], classes=CLASSES, limit=0.05, better="low")
        assert title(figure) == "gap: 19 of 20 reach ≤ 0.05; worst 0.07"

    def test_where_more_is_better_less_is_a_miss(self, table: Floats, title: Callable[[Figure], str]) -> None:
        figure = class_table(
            1 - table, name="retention", seeds=[0, 1], classes=CLASSES, limit=0.95, better="high"
        )
        assert title(figure) == "retention: 19 of 20 reach ≥ 0.95; worst 0.93"

    def test_the_limit_itself_is_a_hit(self, table: Floats) -> None:
        figure = class_table(table, name="gap", seeds=[0, 1], classes=CLASSES, limit=0.07, better="low")
        assert framed(figure.axes[0]) == []

    def test_equal_values_can_be_drawn(self, render: Callable[[Figure], Floats]) -> None:
        figure = class_table(
            np.zeros((10, 1)), name="gap", seeds=[0], classes=CLASSES, limit=0.0, better="low"
        )
        assert render(figure).size

    def test_a_value_that_is_missing_is_no_hit(self, table: Floats, title: Callable[[Figure], str]) -> None:
        table[0, 0] = np.nan
        figure = class_table(table, name="gap", seeds=[0, 1], classes=CLASSES, limit=0.05, better="low")
        assert "18 of 20" in title(figure)
