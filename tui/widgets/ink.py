"""The colours of the theme for drawn text. A glyph always carries the same meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.color import Color


@dataclass(frozen=True, slots=True)
class Ink:
    """Colours as Rich reads them."""

    good: str
    bad: str
    warn: str
    accent: str
    faint: str

    @classmethod
    def of(cls, app: App[Any]) -> Ink:
        """The colours of the current theme."""
        shades, dark = app.theme_variables, app.current_theme.dark
        good, warn, accent = (
            Color.parse(shades[f"text-{word}"]) for word in ("success", "warning", "accent")
        )
        if not dark:  # Textual's own are too pale for a light ground
            good, warn, accent = (colour.darken(0.11) for colour in (good, warn, accent))
        faint = "#8a8a8a" if dark else "#5f5f5f"
        return cls(good.hex, shades["text-error"], warn.hex, accent.hex, faint)


SERIES = ("#4ea1f3", "#f28e2b", "#59c27a", "#e15fd0", "#d8c64a", "#5fd3d3")
"""Colours of overlaid curves on a dark ground; each curve also has a letter."""
SERIES_LIGHT = ("#1a5f9e", "#8f4600", "#186a33", "#8f2180", "#655800", "#0f6464")
"""The same on a light ground."""
LETTERS = "abcdef"
