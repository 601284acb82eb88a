"""Shared look of all figures: sizes, themes, and the colour and marker of each class.

There is no pyplot and there are no global settings, so that threads can draw at the same time.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

# A class name in a script that DejaVu Sans lacks is drawn as boxes; one warning a letter does not help.
warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

WIDTH = 7.0
"""Width of a figure in inches; it stays readable when shown at half of that."""
TITLE, TEXT, SMALL = 11.0, 9.0, 7.5
"""Font sizes in points."""
DPI = 200

CLASS_COLOURS = (
    "#47c2ff", "#da1c00", "#816953", "#4f11fe", "#ff9300", "#30566e", "#ff2fba", "#c5bb71", "#9700bd", "#f0aab2",
)  # fmt: skip
"""Colours of classes, equal in both themes, from a search: under simulated protanopia, deuteranopia and tritanopia
(Machado et al., 2009) any two differ by at least 20 in CIELAB, and all stand out from either background."""
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
"""Markers of classes, so that colour is never the only distinction."""
SERIES_COLOURS = ("#3f90da", "#e76300", "#a96bd6", "#7aa32a", "#c9406c", "#8a8f98")
"""Colours of runs and models in line charts and bars, in order of appearance."""
SERIES_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything that is not data.

    Attributes
    ----------
    paper, ink : background and text.
    faint : grid lines, frames and other secondary elements.
    accent : what the figure points out: the forgotten class, a missed target, the knee.
    """

    name: str
    paper: str
    ink: str
    faint: str
    accent: str


LIGHT = Theme("light", paper="#ffffff", ink="#1f2328", faint="#b8bfc7", accent="#d1242f")
DARK = Theme("dark", paper="#0d1117", ink="#e6edf3", faint="#4a525c", accent="#ff7b72")


def class_look(c: int) -> tuple[str, str]:
    """Colour and marker of a class; no two of the first hundred classes share both."""
    return CLASS_COLOURS[c % 10], CLASS_MARKERS[(c + c // 10) % 10]


def text_width(characters: int, size: float = TEXT) -> float:
    """Approximate width in inches of a text of so many characters."""
    return 0.62 * size / 72 * characters


@dataclass(frozen=True, slots=True)
class Names:
    """Labels along an axis, wrapped or turned so that they do not overlap.

    Attributes
    ----------
    angle : degrees by which they are turned.
    height : inches that they need below or above the axis.
    """

    texts: tuple[str, ...]
    angle: int
    height: float


def fitted(names: Sequence[str], room: float, size: float = TEXT) -> Names:
    """Labels for places that are `room` inches wide: in several lines if words fit, else turned."""
    columns = max(1, int(room / text_width(1, size)))
    lines = [
        textwrap.wrap(name, columns, break_long_words=False, break_on_hyphens=False) or [""] for name in names
    ]
    if all(len(line) <= columns for wrapped in lines for line in wrapped):
        height = max((len(wrapped) for wrapped in lines), default=1) * 1.2 * size / 72
        return Names(tuple("\n".join(wrapped) for wrapped in lines), 0, height)
    angle = 45 if room > 0.3 else 90
    longest = text_width(max(map(len, names)), size)
    # Where not even turned names fit, only some are written.
    every = int(np.ceil(size / 72 / room))
    texts = tuple(name if c % every == 0 else "" for c, name in enumerate(names))
    return Names(texts, angle, longest * float(np.sin(np.radians(angle))) + size / 72)


def name_columns(
    axes: Axes,
    names: Names,
    theme: Theme = LIGHT,
    *,
    places: Sequence[float] | None = None,
    marked: Collection[int] = (),
) -> None:
    """Write labels along the x axis, at 0, 1, ... or at `places`; the marked ones in bold and in the accent colour."""
    top = bool(axes.xaxis.get_tick_params().get("labeltop"))
    axes.set_xticks(range(len(names.texts)) if places is None else places, names.texts)
    if names.angle:
        for label in axes.get_xticklabels():
            label.set(
                rotation=names.angle, ha="left" if top else "right", va="center", rotation_mode="anchor"
            )
    mark(axes.get_xticklabels(), marked, theme)


def mark(labels: Sequence[Text], marked: Collection[int], theme: Theme = LIGHT) -> None:
    """Draw some of the labels in bold and in the accent colour."""
    for c, label in enumerate(labels):
        if c in marked:
            label.set(color=theme.accent, fontweight="bold")


def new_figure(width: float, height: float, title: str, theme: Theme = LIGHT) -> Figure:
    """An empty figure (inches) under a title that wraps to its width."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper, layout="constrained")
    # A bold letter is a little more than half as wide as it is high.
    columns = int(width * 72 / (0.58 * TITLE))
    text = "\n".join(textwrap.wrap(title, columns))
    figure.suptitle(
        text, x=0.01, ha="left", fontsize=TITLE, color=theme.ink, fontweight="bold", parse_math=False
    )
    return figure


def panels(figure: Figure, count: int, columns: int, **shared: Any) -> list[Axes]:
    """So many axes in rows of `columns`; the rest of the last row stays empty."""
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return list(grid[:count])


def dress(axes: Axes, theme: Theme = LIGHT, *, x: str = "", y: str = "", grid: bool = True) -> Axes:
    """Give axes the theme's colours and their labels, open at the top and right, with or without grid lines."""
    axes.set_facecolor(theme.paper)
    axes.set(**({"xlabel": x} if x else {}), **({"ylabel": y} if y else {}))
    axes.tick_params(colors=theme.ink, labelsize=TEXT, which="both", width=0.6)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set(color=theme.ink, fontsize=TEXT)
    for side, spine in axes.spines.items():
        spine.set(color=theme.faint, linewidth=0.8, visible=side in ("left", "bottom"))
    if grid:
        axes.grid(color=theme.faint, linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
    return axes


def heading(axes: Axes, text: str, theme: Theme = LIGHT) -> None:
    """A panel's title, at its upper left."""
    axes.set_title(text, loc="left", fontsize=TEXT + 1, color=theme.ink)


def bare(axes: Axes, theme: Theme = LIGHT) -> Axes:
    """Axes for pictures: neither frame nor tick marks, tick labels kept."""
    dress(axes, theme, grid=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def legend(axes: Axes, theme: Theme = LIGHT, **placement: object) -> None:
    """A legend without a frame, if anything is labelled."""
    if axes.get_legend_handles_labels()[1]:
        options: dict[str, object] = {"fontsize": TEXT, "labelcolor": theme.ink, "frameon": False} | placement
        axes.legend(**options)


def legend_below(
    figure: Figure,
    handles: Sequence[Any],
    names: Sequence[str],
    *,
    columns: int,
    theme: Theme = LIGHT,
    **spacing: float,
) -> None:
    """A legend of the whole figure, under its axes."""
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=TEXT, labelcolor=theme.ink,
        **spacing,
    )  # fmt: skip


def colour_bar(
    figure: Figure, mappable: ScalarMappable, axes: Axes | list[Axes], label: str, theme: Theme = LIGHT
) -> Colorbar:
    """A thin colour bar beside axes."""
    bar = figure.colorbar(mappable, ax=axes, fraction=0.05, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme.ink, labelsize=SMALL, length=2)
    bar.set_label(label, color=theme.ink, fontsize=TEXT)
    return bar


def series() -> Iterator[tuple[str, object]]:
    """Colour and dash of each run in turn, repeated without end."""
    return zip(cycle(SERIES_COLOURS), cycle(SERIES_DASHES), strict=True)


def heat(theme: Theme = LIGHT) -> Colormap:
    """Colour map from the background to a strong blue."""
    end = "#0b4f9e" if theme is LIGHT else "#79c0ff"
    colours = LinearSegmentedColormap.from_list(f"heat-{theme.name}", [theme.paper, end])
    return colours.with_extremes(bad=theme.paper)


def text_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever reads better on an RGBA colour (W3C relative luminance)."""
    channels = np.asarray(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#000000" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.179 else "#ffffff"
