"""A line chart of braille dots, eight a character; each curve has a letter beside its colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from tui.plain import clean
from tui.widgets.ink import LETTERS, SERIES, SERIES_LIGHT

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
MARGIN = 10
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: its name and points (x, y) in order of x."""

    name: str
    points: Sequence[Point]


Drawn = tuple[tuple[str, tuple[Series, ...]], ...]
"""Charts by name, each with its curves."""


def chart(
    series: Sequence[Series],
    width: int,
    height: int,
    *,
    title: str = "",
    log: bool = False,
    zoom: int = 0,
    cursor: float | None = None,
    colours: Sequence[str] = SERIES,
) -> Text:
    """Curves in one chart of `width` x `height` characters with its title, axes and legend.

    Parameters
    ----------
    log : logarithmic values; without those that are not positive.
    zoom : show the last 1 / 2^zoom of the steps.
    cursor : step that a vertical line marks.
    colours : of the curves.
    """
    plot_width, plot_height = width - MARGIN, height - 2 - bool(title)
    if plot_width < 4 or plot_height < 1:
        return Text("")
    kept = [
        [(x, _scale(y, log)) for x, y in s.points if math.isfinite(y) and (y > 0 or not log)] for s in series
    ]
    last = max((points[-1][0] for points in kept if points), default=0.0)
    first = min((points[0][0] for points in kept if points), default=0.0)
    first = last - (last - first) / 2**zoom
    kept = [[p for p in points if p[0] >= first] for points in kept]
    values = [y for points in kept for _, y in points]
    text = Text(no_wrap=True)
    if title:
        text.append(
            clean(title, width) + ("  log" if log else "") + (f"  last 1/{2**zoom}" if zoom else ""), "bold"
        )
        text.append("\n")
    if not values:
        text.append("no points yet", style="dim")
        return text
    low, high = min(values), max(values)
    grid = _Grid(plot_width, plot_height, colours)
    for i, points in enumerate(kept):
        dots = [
            (
                round((x - first) / max(last - first, 1e-12) * (2 * plot_width - 1)),
                round((high - y) / max(high - low, 1e-12) * (4 * plot_height - 1)),
            )
            for x, y in points
        ]
        grid.curve(dots, i)
    if cursor is not None and first <= cursor <= last:
        grid.mark = round((cursor - first) / max(last - first, 1e-12) * (plot_width - 1))
    for row in range(plot_height):
        edge = high if row == 0 else low if row == plot_height - 1 and high > low else None
        text.append("".rjust(MARGIN) if edge is None else f"{_unscale(edge, log):>{MARGIN - 1}.4g} ", "dim")
        grid.write(row, text)
        text.append("\n")
    right = f"{last:g}"
    text.append(
        " " * MARGIN + f"{first:g}".ljust(max(0, plot_width - len(right))) + right + "\n", style="dim"
    )
    room = width // max(1, len(series))
    for i, s in enumerate(series):
        end = f"{_unscale(kept[i][-1][1], log):.4g}" if kept[i] else "-"
        name = room - len(end) - 5
        words = [LETTERS[i % len(LETTERS)], *([clean(s.name, min(name, 24))] if name > 2 else []), end]
        text.append(" ".join(words) + "  ", style=colours[i % len(colours)])
    return text


class _Grid:
    """Braille cells, each in the colour of its last curve."""

    def __init__(self, width: int, height: int, colours: Sequence[str]) -> None:
        self.width, self.height, self.colours = width, height, colours
        self.bits = [[0] * width for _ in range(height)]
        self.owner = [[0] * width for _ in range(height)]
        self.letters: dict[tuple[int, int], int] = {}
        self.mark: int | None = None

    def curve(self, dots: Sequence[tuple[int, int]], index: int) -> None:
        """Dots (column, row) joined by lines, with a letter at the end."""
        if not dots:
            return
        for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
            count = max(abs(x1 - x0), abs(y1 - y0), 1)
            for i in range(count + 1):
                self._dot(x0 + round((x1 - x0) * i / count), y0 + round((y1 - y0) * i / count), index)
        x, y = dots[-1]
        self.letters[y // 4, x // 2] = index

    def _dot(self, x: int, y: int, index: int) -> None:
        self.bits[y // 4][x // 2] |= DOTS[y % 4][x % 2]
        self.owner[y // 4][x // 2] = index

    def write(self, row: int, text: Text) -> None:
        """One line."""
        for column in range(self.width):
            bits, index = self.bits[row][column], self.owner[row][column]
            if (row, column) in self.letters:
                index = self.letters[row, column]
                text.append(
                    LETTERS[index % len(LETTERS)], style=f"bold {self.colours[index % len(self.colours)]}"
                )
            elif bits:
                text.append(chr(0x2800 + bits), style=self.colours[index % len(self.colours)])
            elif column == self.mark:
                text.append("│", style="dim")
            else:
                text.append(" ")


def values_at(series: Sequence[Series], step: float) -> str:
    """`step 40   a forget 1 12.3`: the value of each curve at its step nearest to one."""
    words = [f"step {step:g}"]
    for i, s in enumerate(series):
        if s.points:
            _, y = min(s.points, key=lambda p: abs(p[0] - step))
            words.append(f"{LETTERS[i % len(LETTERS)]} {clean(s.name, 24)} {y:.5g}")
    return "   ".join(words)


def _scale(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def _unscale(y: float, log: bool) -> float:
    return 10**y if log else y


class Charts(Widget):
    """As many charts beside each other as fit; `offset_by` turns to the next ones."""

    DEFAULT_CSS = "Charts { height: 1fr; }"
    LEAST = 44
    LOWEST = 9

    charts: reactive[Drawn] = reactive(())
    note: reactive[str] = reactive("")
    """A line above the charts."""
    alone: reactive[bool] = reactive(False)
    """Show one chart, as large as there is room."""
    cursor: reactive[float | None] = reactive(None)
    log_scale: reactive[bool] = reactive(False)
    zoom: reactive[int] = reactive(0)
    offset_by: reactive[int] = reactive(0)

    def render(self) -> Text:
        """The charts that fit, from `offset_by` on."""
        width, height = self.size
        if not self.charts:
            return Text("no curves: this run has trained nothing itself", style="dim")
        height -= bool(self.note)
        across = 1 if self.alone else max(1, min(len(self.charts), width // self.LEAST))
        down = 1 if self.alone else max(1, min(-(-len(self.charts) // across), height // self.LOWEST))
        order = [self.charts[(i + self.offset_by) % len(self.charts)] for i in range(len(self.charts))]
        text = Text(f"{self.note}\n" if self.note else "", style="", no_wrap=True)
        for row in range(down):
            shown = order[row * across : (row + 1) * across]
            blocks = [
                chart(
                    series,
                    width // across - 1,
                    height // down,
                    title=name,
                    log=self.log_scale,
                    zoom=self.zoom,
                    cursor=self.cursor,
                    colours=SERIES if self.app.current_theme.dark else SERIES_LIGHT,
                ).split("\n")
                for name, series in shown
            ]
            for y in range(height // down):
                for block in blocks:
                    line = block[y].copy() if y < len(block) else Text()
                    line.truncate(width // across, pad=True)
                    text.append_text(line)
                text.append("\n")
        return text
