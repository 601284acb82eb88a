"""Figures and animations in both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from sa_mlops.plots.style import DARK, LIGHT, Theme
from sa_mlops.stages.runs import StageRun


def file(name: str, theme: Theme, suffix: str) -> str:
    """The file name of a figure in a theme."""
    return f"{name}.{suffix}" if theme is LIGHT else f"{name}_{theme.name}.{suffix}"


def figure(run: StageRun, name: str, plot: Callable[..., Figure], *arguments: Any, **options: Any) -> None:
    """Log a plot in both themes."""
    for theme in (LIGHT, DARK):
        run.figure(plot(*arguments, theme=theme, **options), f"figures/{file(name, theme, 'png')}")
