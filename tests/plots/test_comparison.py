"""The figure of a comparison."""

from __future__ import annotations

import math

from matplotlib.backends.backend_agg import FigureCanvasAgg

from sa_mlops.plots.comparison import Point, Span, methods_compared


def test_every_method_is_drawn_with_its_range_and_its_seconds() -> None:
    def point(name: str, seconds: float) -> Point:
        spent = Span(seconds, seconds, seconds)
        return Point(name, Span(0.1, 0.05, 0.2), Span(0.95, 0.9, 0.99), Span(17.0, 16.0, 19.0), spent)

    figure = methods_compared([point("esd", 20.0), point("fast", math.nan)], chance=0.1)
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
