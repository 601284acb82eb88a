"""The colours of the theme for drawn text. A glyph always carries the same meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App


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
        theme = app.current_theme
        if not theme.dark:
            shades = app.theme_variables
            good, bad, warn, accent = (
                shades[f"text-{word}"] for word in ("success", "error", "warning", "accent")
            )
            return cls(good, bad, warn, accent, faint="#6a6a6a")
        return cls(
            good=theme.success or "#4EBF71",
            bad=theme.error or "#ba3c5b",
            warn=theme.warning or "#ffa62b",
            accent=theme.accent or theme.secondary or "#0178D4",
            faint="#808080",
        )


SERIES = ("#4ea1f3", "#f28e2b", "#59c27a", "#e15fd0", "#d8c64a", "#5fd3d3")
"""Colours of overlaid curves on a dark ground; each curve also has a letter."""
SERIES_LIGHT = ("#1f6fb8", "#a85200", "#1d7a3c", "#a3268f", "#756500", "#137a7a")
"""The same on a light ground."""
LETTERS = "abcdef"
