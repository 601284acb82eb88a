"""Grey pictures as half blocks: two pixels a character, on any terminal with colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPPER_HALF = "\N{UPPER HALF BLOCK}"
CELL = 14
"""Pixels a digit gets on each side, half of 28."""


def digit_grid(images: Any, headings: tuple[str, ...] = ()) -> Text:
    """Images (rows, columns, 28, 28) in [0, 1], shrunk by two, as text; `headings` names the columns."""
    rows, columns = images.shape[:2]
    small = images.reshape(rows, columns, CELL, 2, CELL, 2).mean(axis=(3, 5))
    text = Text(no_wrap=True)
    if headings:
        text.append("".join(h.center(CELL) + " " for h in headings) + "\n", style="bold")
    for r in range(rows):
        for y in range(0, CELL, 2):
            for c in range(columns):
                _line(text, small[r, c, y], small[r, c, y + 1])
                text.append(" ")
            text.append("\n")
    return text


def _line(text: Text, top: NDArray[Any], bottom: NDArray[Any]) -> None:
    for a, b in zip(top.tolist(), bottom.tolist(), strict=True):
        text.append(UPPER_HALF, Style(color=_grey(a), bgcolor=_grey(b)))


def _grey(value: float) -> str:
    level = round(255 * min(1.0, max(0.0, value)))
    return f"#{level:02x}{level:02x}{level:02x}"
