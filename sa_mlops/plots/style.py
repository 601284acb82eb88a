"""One look for every figure: sizes, themes, and the colour and marker of each class.

No pyplot and no global settings: a figure belongs to its caller, and threads do not meet.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

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
"""Colour of each digit, the same in both themes. Chosen by search: under simulated protanopia, deuteranopia and
tritanopia (Machado et al., 2009) no two come closer than 20 in CIELAB, and all stand out from either background."""
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
"""Marker of each digit, so that colour is never the only carrier."""
SERIES_COLOURS = ("#3f90da", "#e76300", "#a96bd6", "#7aa32a", "#c9406c", "#8a8f98")
"""Colours of runs and models in line charts and bars, in order of appearance."""
SERIES_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything that is not data.

    Attributes
    ----------
    paper, ink : background and text.
    faint : grid lines, frames and what should step back.
    accent : the one thing to look at: the forgotten class, a missed target, the knee.
    """

    name: str
    paper: str
    ink: str
    faint: str
    accent: str


LIGHT = Theme("light", paper="#ffffff", ink="#1f2328", faint="#b8bfc7", accent="#d1242f")
DARK = Theme("dark", paper="#0d1117", ink="#e6edf3", faint="#4a525c", accent="#ff7b72")


def new_figure(width: float, height: float, title: str, theme: Theme) -> Figure:
    """An empty figure (inches) under a title that wraps to its width."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper, layout="constrained")
    # A bold letter is a little more than half as wide as it is high.
    columns = int(width * 72 / (0.58 * TITLE))
    text = "\n".join(textwrap.wrap(title, columns))
    figure.suptitle(
        text, x=0.01, ha="left", fontsize=TITLE, color=theme.ink, fontweight="bold", parse_math=False
    )
    return figure


def dress(axes: Axes, theme: Theme, *, grid: bool = True) -> Axes:
    """Give axes the theme's colours, open at the top and right, with or without grid lines."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=TEXT, which="both", width=0.6)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set(color=theme.ink, fontsize=TEXT)
    for side, spine in axes.spines.items():
        spine.set(color=theme.faint, linewidth=0.8, visible=side in ("left", "bottom"))
    if grid:
        axes.grid(color=theme.faint, linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
    return axes


def heading(axes: Axes, text: str, theme: Theme) -> None:
    """What a panel shows, above its left end."""
    axes.set_title(text, loc="left", fontsize=TEXT + 1, color=theme.ink)


def bare(axes: Axes, theme: Theme) -> Axes:
    """Axes for pictures: neither frame nor tick marks, tick labels kept."""
    dress(axes, theme, grid=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def legend(axes: Axes, theme: Theme, **placement: object) -> None:
    """A legend without a frame, if anything is labelled."""
    if axes.get_legend_handles_labels()[1]:
        options: dict[str, object] = {"fontsize": TEXT, "labelcolor": theme.ink, "frameon": False} | placement
        axes.legend(**options)


def colour_bar(figure: Figure, mappable: ScalarMappable, axes: Axes, label: str, theme: Theme) -> None:
    """A thin colour bar beside axes."""
    bar = figure.colorbar(mappable, ax=axes, fraction=0.05, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme.ink, labelsize=SMALL, length=2)
    bar.set_label(label, color=theme.ink, fontsize=TEXT)


def series() -> Iterator[tuple[str, object]]:
    """Colour and dash of one run after another, without end."""
    return zip(cycle(SERIES_COLOURS), cycle(SERIES_DASHES), strict=True)


def heat(theme: Theme) -> Colormap:
    """From the background to a strong blue: low values recede in either theme."""
    end = "#0b4f9e" if theme is LIGHT else "#79c0ff"
    colours = LinearSegmentedColormap.from_list(f"heat-{theme.name}", [theme.paper, end])
    return colours.with_extremes(bad=theme.paper)


def text_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever reads better on an RGBA colour (W3C relative luminance)."""
    channels = np.asarray(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#000000" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.179 else "#ffffff"


def to_png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure; letters become paths, so that any viewer agrees."""
    buffer = io.BytesIO()
    # Ids are random and the date is now, unless told otherwise.
    with matplotlib.rc_context({"svg.hashsalt": "sa-mlops"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().decode()
