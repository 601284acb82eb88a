"""Methods of forgetting side by side: forgetting against retention, seconds, and attacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sa_mlops.plots.spans import Span
from sa_mlops.plots.style import LIGHT, SMALL, WIDTH, class_look, dress, legend_below, new_figure


@dataclass(frozen=True, slots=True)
class Point:
    """One method.

    Attributes
    ----------
    forgotten : probability of the forgotten class, [0, 1].
    accuracy, fid : of the retained classes, minus those of the base; NaN for the base itself.
    seconds : may be NaN.
    """

    name: str
    forgotten: Span
    accuracy: Span
    fid: Span
    seconds: Span


def methods_compared(points: Sequence[Point], *, chance: float) -> Figure:
    """Changes of retained accuracy and FID over the forgotten class's probability, above the seconds.

    Bars span the seeds, each measured against its own base.

    Parameters
    ----------
    chance : 1/K, where a dashed line stands.
    """
    found = f"Change of the retained classes over what is left of the forgotten one, {len(points)} generators"
    figure = new_figure(WIDTH, 4.6 + 0.19 * len(points), found)
    axes = figure.subplot_mosaic(
        [["accuracy", "fid"], ["seconds", "seconds"]], height_ratios=[3.4, 0.6 + 0.19 * len(points)]
    )
    for key, words in (("accuracy", "change of retained accuracy"), ("fid", "change of retained FID")):
        _scatter(axes[key], points, key)
        axes[key].axvline(chance, color=LIGHT.faint, linestyle="--", linewidth=1)
        axes[key].axhline(0, color=LIGHT.faint, linewidth=1)
        axes[key].set_xscale("log")
        dress(axes[key], x="p of the forgotten class (dashed: 1/K)", y=words)
    _durations(axes["seconds"], [p for p in points if p.seconds.mean > 0], points)
    legend_below(figure, *axes["accuracy"].get_legend_handles_labels(), columns=4)
    return figure


def attacks_compared(success: Mapping[str, Mapping[str, Span]]) -> Figure:
    """The success of each level of attack on each generator; bars span the seeds.

    Parameters
    ----------
    success : generator -> level -> share of the attempts, [0, 1].
    """
    levels = sorted({level for found in success.values() for level in found})
    shown = [(i, name) for i, name in enumerate(success) if success[name]]
    figure = new_figure(WIDTH, 4.2, f"Success of attacks, {len(shown)} generators")
    axes = figure.add_subplot()
    for place, (i, name) in enumerate(shown):
        found = success[name]
        x = [levels.index(level) + 0.8 * ((place + 0.5) / len(shown) - 0.5) for level in found]
        errors = np.hstack([_error(span) for span in found.values()])
        means = [span.mean for span in found.values()]
        _draw(axes, x, means, class_look(i), yerr=errors, label=name)
    axes.set_xticks(range(len(levels)), levels)
    axes.set_ylim(-0.03, 1.03)
    dress(axes, x="level of attack", y="success")
    legend_below(figure, *axes.get_legend_handles_labels(), columns=4)
    return figure


def _scatter(axes: Axes, points: Sequence[Point], key: str) -> None:
    for i, point in enumerate(points):
        x, y = point.forgotten, getattr(point, key)
        if math.isnan(y.mean):
            continue
        _draw(axes, x.mean, y.mean, class_look(i), xerr=_error(x), yerr=_error(y), label=point.name)


def _error(span: Span) -> list[list[float]]:
    return [[max(0.0, span.mean - span.low)], [max(0.0, span.high - span.mean)]]


def _durations(axes: Axes, timed: Sequence[Point], points: Sequence[Point]) -> None:
    looks = {p.name: class_look(i) for i, p in enumerate(points)}
    places = range(len(timed))[::-1]
    for place, point in zip(places, timed, strict=True):
        s = point.seconds
        _draw(axes, s.mean, place, looks[point.name], xerr=_error(s))
        axes.annotate(
            f"{s.mean:.1f}", (s.high, place), (6, 0), textcoords="offset points", va="center", fontsize=SMALL,
            color=LIGHT.ink,
        )  # fmt: skip
    axes.set_yticks(places, [p.name for p in timed])
    if timed:
        axes.set_xscale("log")
        axes.margins(x=0.12)
    dress(axes, x="seconds, with the Fisher diagonal where one is needed")


def _draw(axes: Axes, x: ArrayLike, y: ArrayLike, look: tuple[str, str], **options: Any) -> None:
    """A generator's points, with its colour and marker in every panel."""
    axes.errorbar(
        x, y, color=look[0], marker=look[1], markersize=6, linestyle="", elinewidth=1, markeredgecolor=LIGHT.ink,
        markeredgewidth=0.4, **options,
    )  # fmt: skip
