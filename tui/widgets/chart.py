"""A line chart of braille dots: eight dots a character."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

COLOURS = ("cyan", "magenta", "yellow", "green")
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def chart(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], width: int, height: int, *, log: bool
) -> Text:
    """Series (name, points) in one chart of `width` x `height` characters; later series are drawn over earlier ones.

    With `log`, points that are not positive are left out.
    """
    kept = [(name, [(x, _scale(y, log)) for x, y in points if not log or y > 0]) for name, points in series]
    kept = [(name, [p for p in points if math.isfinite(p[1])]) for name, points in kept]
    every = [p for _, points in kept for p in points]
    if not every or width < 8 or height < 2:
        return Text("no points yet", style="dim")
    low, high = min(y for _, y in every), max(y for _, y in every)
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    cells = [[(0, "")] * width for _ in range(height)]
    for i, (_, points) in enumerate(kept):
        colour = COLOURS[i % len(COLOURS)]
        for x, y in points:
            column = round((x - first) / max(last - first, 1e-12) * (2 * width - 1))
            row = round((high - y) / max(high - low, 1e-12) * (4 * height - 1))
            bits, _ = cells[row // 4][column // 2]
            cells[row // 4][column // 2] = (bits | DOTS[row % 4][column % 2], colour)
    text = Text(no_wrap=True)
    for r, line in enumerate(cells):
        edge = high if r == 0 else low if r == height - 1 else None
        text.append("".rjust(10) if edge is None else f"{_unscale(edge, log):>9.4g} ", style="dim")
        for bits, colour in line:
            text.append(chr(0x2800 + bits) if bits else " ", style=colour or None)
        text.append("\n")
    text.append(f"{'':10}{first:g}".ljust(10 + width - len(f"{last:g}")) + f"{last:g}\n", style="dim")
    for i, (name, _) in enumerate(kept):
        text.append(f"{'':10}━ {name}  ", style=COLOURS[i % len(COLOURS)])
    return text


def _scale(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def _unscale(y: float, log: bool) -> float:
    return 10**y if log else y
