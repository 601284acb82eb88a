"""One look: colours that can be told apart, titles that wrap, equal bytes for equal figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sa_mlops.plots.style import (
    CLASS_COLOURS,
    LIGHT,
    SERIES_COLOURS,
    SERIES_DASHES,
    Theme,
    class_look,
    dress,
    fitted,
    heat,
    legend,
    new_figure,
    series,
    text_on,
)

Render = Callable[[Figure], NDArray[np.uint8]]


def luminance(colour: str) -> float:
    channels = np.array(colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def example(theme: Theme = LIGHT) -> Figure:
    figure = new_figure(4, 3, "An example", theme)
    axes = dress(figure.add_subplot(), theme)
    axes.plot([0, 1], [0, 1], label="line")
    legend(axes, theme)
    return figure


class TestColours:
    def test_no_two_classes_look_alike(self) -> None:
        assert len({class_look(c) for c in range(100)}) == 100

    def test_the_first_ten_differ_by_colour_and_by_marker(self) -> None:
        assert all(len(set(looks)) == 10 for looks in zip(*map(class_look, range(10)), strict=True))

    @pytest.mark.parametrize("colour", CLASS_COLOURS)
    def test_a_class_colour_stands_out_from_either_background(self, theme: Theme, colour: str) -> None:
        assert contrast(colour, theme.paper) > 1.5

    def test_text_is_easy_to_read(self, theme: Theme) -> None:
        assert contrast(theme.ink, theme.paper) > 7

    def test_the_accent_is_readable_as_text(self, theme: Theme) -> None:
        assert contrast(theme.accent, theme.paper) > 4.5

    def test_series_differ_by_colour_and_by_dash(self) -> None:
        first = list(itertools.islice(series(), len(SERIES_COLOURS)))
        assert len({c for c, _ in first}) == len({str(d) for _, d in first}) == len(SERIES_DASHES)

    @pytest.mark.parametrize(
        ("colour", "text"), [("#ffffff", "#000000"), ("#000000", "#ffffff"), ("#0b4f9e", "#ffffff")]
    )
    def test_text_on_a_cell_takes_the_stronger_contrast(self, colour: str, text: str) -> None:
        assert text_on(colors.to_rgba(colour)) == text

    def test_low_values_recede_into_the_background(self, theme: Theme) -> None:
        assert colors.to_hex(heat(theme)(0.0)) == theme.paper


class TestNames:
    def test_short_names_stay_as_they_are(self) -> None:
        assert fitted(["0", "1"], 0.6).texts == ("0", "1")

    def test_words_go_into_lines_before_a_name_is_turned(self) -> None:
        names = fitted(["Coat", "Ankle boot"], 0.6)
        assert (names.texts, names.angle) == (("Coat", "Ankle\nboot"), 0)

    def test_a_word_that_is_wider_than_its_place_turns_all_names(self) -> None:
        narrow, wide = fitted(["Coat", "Pullover"], 0.3), fitted(["Coat", "Pullover"], 0.8)
        assert (wide.angle, narrow.angle) == (0, 90)
        assert narrow.height > wide.height


class TestFigure:
    def test_a_long_title_stays_inside_the_figure(self) -> None:
        figure = new_figure(7, 3, "the forgotten class is grey " * 8, LIGHT)
        figure.add_subplot()
        figure.draw_without_rendering()
        assert figure._suptitle is not None
        assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1

    def test_dollars_in_a_title_are_text(self, render: Render) -> None:
        assert render(new_figure(7, 3, "run $\\frac{1$ of $x")).size

    def test_the_paper_is_the_theme_s(self, theme: Theme, render: Render) -> None:
        assert colors.to_hex(render(example(theme))[-2, 1] / 255) == theme.paper

    def test_a_legend_without_labels_is_not_drawn(self) -> None:
        axes: Axes = new_figure(4, 3, "", LIGHT).add_subplot()
        legend(axes, LIGHT)
        assert axes.get_legend() is None
