"""The figure of a comparison."""

from __future__ import annotations

import math
from dataclasses import replace

from matplotlib.backends.backend_agg import FigureCanvasAgg

from sa_mlops.plots.comparison import Point, attacks_compared, methods_compared
from sa_mlops.plots.spans import Span


def test_every_method_is_drawn_with_its_range_and_its_seconds() -> None:
    def point(name: str, seconds: float) -> Point:
        spent = Span(seconds, seconds, seconds)
        return Point(name, Span(0.1, 0.05, 0.2), Span(0.95, 0.9, 0.99), Span(17.0, 16.0, 19.0), spent)

    unknown = Span(math.nan, math.nan, math.nan)
    base = replace(point("base", math.nan), accuracy=unknown, fid=unknown)
    figure = methods_compared([base, point("esd", 20.0), point("fast", math.nan)], chance=0.1)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["esd", "fast"]
    left, right, below = figure.axes
    (across, up) = left.containers[0].lines[2]
    assert across.get_segments()[0][:, 0].round(6).tolist() == [0.05, 0.2]
    assert up.get_segments()[0][:, 1].round(6).tolist() == [0.9, 0.99]
    assert [t.get_text() for t in below.get_yticklabels()] == ["esd"]
    renderer = canvas.get_renderer()
    boxes = [axes.xaxis.label.get_window_extent(renderer) for axes in (left, right)]
    assert boxes[0].x1 < boxes[1].x0


def test_attacks_stand_at_their_level_and_keep_the_colour_of_their_generator() -> None:
    spans = {"A0": Span(0.1, 0.05, 0.2), "A3": Span(0.5, 0.5, 0.5)}
    figure = attacks_compared({"base": {}, "esd": spans, "ssd": {"A3": Span(0.9, 0.8, 1.0)}})
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["A0", "A3"]
    esd, ssd = axes.containers
    assert [esd.get_label(), ssd.get_label()] == ["esd", "ssd"]
    assert [round(x) for x in esd.lines[0].get_xdata()] == [0, 1]
    assert ssd.lines[2][0].get_segments()[0][:, 1].round(6).tolist() == [0.8, 1.0]
    other = methods_compared([Point(n, *[Span(0.1, 0.1, 0.1)] * 4) for n in ("base", "esd")], chance=0.1)
    assert other.axes[0].containers[1].lines[0].get_color() == esd.lines[0].get_color()


def test_any_number_of_methods_differ_by_colour_and_marker_and_keep_both_beside_their_seconds() -> None:
    names = [str(i) for i in range(24)]
    figure = methods_compared([Point(n, *[Span(0.1, 0.1, 0.1)] * 4) for n in names], chance=0.1)
    left, _, below = (
        [(drawn.lines[0].get_color(), drawn.lines[0].get_marker()) for drawn in axes.containers]
        for axes in figure.axes
    )
    assert left == below
    assert len(set(left)) == len(names)
