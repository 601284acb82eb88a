"""A chart on the whole screen, with a cursor that reads its values, and a search over the metrics."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from tui.screens.keys import bind, hidden, named
from tui.screens.modal import Modal
from tui.widgets.chart import Charts, Drawn, Series, values_at
from tui.widgets.keys import Keys
from tui.widgets.prompt import Prompt


class ChartScreen(Modal[None]):
    """One chart at a time.

    Parameters
    ----------
    charts : name and curves of each.
    at : index of the first one shown.
    """

    AUTO_FOCUS = ""
    HELP_TEXT = (
        "The cursor reads every curve at one step. / shows the metrics whose name has the typed letters."
    )
    BINDINGS: ClassVar[list[BindingType]] = named(
        "chart",
        [
            bind("escape,q", "dismiss(None)", "close"),
            hidden("left", "move(-1)", "back"),
            bind("right", "move(1)", "cursor", key_display="← →"),
            hidden("home", "move(-100000)", "first step"),
            hidden("end", "move(100000)", "last step"),
            bind("down,m", "turn(1)", "next chart"),
            hidden("up,M", "turn(-1)", "chart before"),
            bind("g", "log_scale", "log"),
            bind("z", "zoom", "zoom"),
            bind("slash", "ask", "search"),
        ],
    )

    def __init__(self, charts: Drawn, at: int, log_scale: bool) -> None:
        super().__init__()
        self.all = charts
        self.shown = charts
        self.at = at % max(1, len(charts))
        self.step: float | None = None
        self.log_scale = log_scale
        self.words = ""

    def compose(self) -> ComposeResult:
        """The chart, the values under the cursor, the search."""
        with Vertical(id="chart"):
            yield Charts(id="full-chart")
            yield Static(id="chart-values", markup=False)
        yield Prompt("part of a metric's name")
        yield Keys()

    def on_mount(self) -> None:
        """Show the first chart."""
        chart = self.query_one(Charts)
        chart.alone = True
        chart.log_scale = self.log_scale
        chart.charts = self.shown
        self.show()

    @property
    def curves(self) -> tuple[str, tuple[Series, ...]]:
        """Name and curves of the chart that is shown."""
        return self.shown[self.at]

    def show(self) -> None:
        """Show the chart and the values under the cursor."""
        chart = self.query_one(Charts)
        chart.offset_by, chart.cursor = self.at, self.step
        name, series = self.curves
        self.query_one("#chart").border_title = Text(f"{name}   {self.at + 1} of {len(self.shown)}")
        words = "← → move the cursor" if self.step is None else values_at(series, self.step)
        self.query_one("#chart-values", Static).update(Text(words))

    def action_move(self, by: int) -> None:
        """Move the cursor along the steps."""
        steps = sorted({x for s in self.curves[1] for x, _ in s.points})
        if not steps:
            return
        if self.step is None:
            at = len(steps) if by < 0 else -1
        else:
            step = self.step
            at = min(range(len(steps)), key=lambda i: abs(steps[i] - step))
        self.step = steps[max(0, min(len(steps) - 1, at + by))]
        self.show()

    def action_turn(self, by: int) -> None:
        """Another chart."""
        self.at = (self.at + by) % len(self.shown)
        self.show()

    def action_log_scale(self) -> None:
        """Logarithmic or linear values."""
        chart = self.query_one(Charts)
        chart.log_scale = not chart.log_scale

    def action_zoom(self) -> None:
        """The last half, quarter, eighth of the steps, then all."""
        chart = self.query_one(Charts)
        chart.zoom = (chart.zoom + 1) % 4

    def action_ask(self) -> None:
        """Open the search."""
        self.query_one(Prompt).open(self.words)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep the charts whose name matches; all if none does."""
        self.words = event.value
        self.shown = tuple(c for c in self.all if self.words.lower() in c[0].lower()) or self.all
        self.at = 0
        self.query_one(Charts).charts = self.shown
        self.show()
