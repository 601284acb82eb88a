"""Text from the store made safe for the screen, and numbers in a readable form."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

LONGEST = 200


def clean(text: object, longest: int = LONGEST) -> str:
    """One line without control characters, at most `longest` cells wide.

    Names, tags and error messages can hold anything: escape sequences, line breaks, ten kilobytes.
    """
    flat = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * longest + 4])
    return flat if cell_len(flat) <= longest else set_cell_size(flat, longest - 1) + "…"


def fit(text: object, width: int) -> str:
    """`clean` text in exactly `width` cells."""
    return set_cell_size(clean(text, max(1, width)), width)


def joined(fields: Sequence[str], room: int, gap: str = "  ") -> str:
    """The first fields that fit into `room` cells, whole; a field is never cut."""
    kept = ""
    for field in fields:
        longer = f"{kept}{gap}{field}" if kept else field
        if cell_len(longer) > room:
            break
        kept = longer
    return kept


def lines(text: str, longest: int = LONGEST, most: int = 500) -> str:
    """Several lines, each of them clean."""
    return "\n".join(clean(line.expandtabs(4), longest) for line in text.split("\n")[-most:])


def whole(text: str) -> int:
    """A whole number of up to nine digits; 0 for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2 h`, `5 d`."""
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"


def age(milliseconds: int) -> str:
    """Time since a moment in milliseconds since 1970; empty for no moment."""
    return duration(time.time() - milliseconds / 1000) if milliseconds else ""


def moment(milliseconds: int) -> str:
    """Local date and time; empty for no moment."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000)) if milliseconds else ""
    except (OverflowError, ValueError, OSError):
        return ""


def number(value: float) -> str:
    """Four decimals where they are enough, else four significant digits."""
    size = abs(value)
    return f"{value:.4f}" if value == 0 or 0.001 <= size < 1000 else f"{value:.4g}"
