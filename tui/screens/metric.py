"""One metric over the versions of a lineage."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.messages import OpenVersion
from tui.plain import clean, fit, number
from tui.screens.keys import bind, named
from tui.screens.modal import Modal
from tui.services.orders import after, ranked, wish
from tui.services.tree import Row, rows
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.ink import Ink
from tui.widgets.keys import Keys
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList


class MetricScreen(Modal[None]):
    """A version a line, in the order of the lineage: its value, the change against its parent, a dot on a scale.

    Parameters
    ----------
    at : the selected version.
    """

    HELP_TEXT = """\
The change is against the parent, over the same classes: ▲ better, ▼ worse. The dots share the scale whose ends stand
above them; versions without the metric have none. Enter goes to a version."""
    AUTO_FOCUS = "#metric"
    BINDINGS: ClassVar[list[BindingType]] = named(
        "metric",
        [
            bind("escape,q", "dismiss(None)", "close"),
            bind("right,m", "turn(1)", "next metric"),
            bind("left,M", "turn(-1)", "metric before"),
            bind("slash", "ask", "search", "metrics with the typed letters"),
            bind("o", "order", "sort", "in the order of the lineage, or the best first"),
            bind("g", "log_scale", "log", "logarithmic or linear scale"),
        ],
    )

    def __init__(self, workspace: Workspace, at: Version | None) -> None:
        super().__init__()
        snapshot = workspace.snapshot
        alone = {key: v for key, v in snapshot.versions.items() if key[0] == names.GENERATORS}
        self.snapshot = replace(snapshot, versions=alone)
        self.first = at.uri if at is not None else None
        self.all = facts.ordered({k for v in alone.values() for k in self.snapshot.metrics_of(v)})
        self.shown = self.all
        self.metric = self.all[0] if self.all else ""
        self.sorted = self.log_scale = False
        self.words = ""
        self.ends = (0.0, 1.0)

    def compose(self) -> ComposeResult:
        """The list, the search, the keys."""
        lines: RowList[Row] = RowList(lambda row: row.key, self.paint, header=self.header, id="metric")
        lines.border_subtitle = "← → metric   / search   enter version   esc close"
        yield lines
        yield Prompt("part of a metric's name")
        yield Keys()

    def on_mount(self) -> None:
        """Show the first metric."""
        self.fill()

    @property
    def lines(self) -> RowList[Row]:
        """The list."""
        return self.query_one("#metric", RowList)

    def value(self, row: Row) -> float | None:
        """The value of a line; None without one."""
        value = self.snapshot.metrics_of(row.version).get(self.metric)
        return value if value is not None and math.isfinite(value) else None

    def fill(self) -> None:
        """Compute the lines and the ends of the scale."""
        found = [row for row in rows(self.snapshot) if row.version is not None]
        known = [v for row in found if (v := self.value(row)) is not None and (v > 0 or not self.log_scale)]
        self.ends = (min(known), max(known)) if known else (0.0, 0.0)
        if self.sorted:
            found = [replace(row, guide="") for row in found if self.value(row) is not None]
            found = ranked(found, self.value, rising=wish(self.metric) > 0)
        at = self.shown.index(self.metric) + 1 if self.metric in self.shown else 0
        words = f"{clean(self.metric, 60) or 'no metrics'}   {at} of {len(self.shown)}"
        self.lines.border_title = Text(words + "   best first" * self.sorted)
        self.lines.set_rows(found, self.first)
        self.first = None
        self.lines.refresh()

    def _widths(self, width: int) -> tuple[int, int]:
        """Cells of the name and of the scale."""
        name = min(46, max(20, (width - 26) // 2))
        return name, max(0, width - 26 - name)

    def header(self, width: int) -> Text:
        """Headings, and the ends of the scale."""
        name, scale = self._widths(width)
        low, high = (number(v) for v in self.ends)
        ends = low + ("log" if self.log_scale else "").center(max(1, scale - len(low) - len(high))) + high
        return Text(f"{'version':<{name}} {'value':>10}{'vs parent':>13}  {ends}", no_wrap=True)

    def paint(self, row: Row, width: int) -> Text:
        """A version with its value."""
        ink = Ink.of(self.app)
        name, scale = self._widths(width)
        version, value = row.version, self.value(row)
        assert version is not None
        badges = "".join(f" @{clean(a, 20)}" for a in self.snapshot.aliases_of(version))
        text = Text(fit(row.guide + clean(version.title, 60) + badges, name) + " ", no_wrap=True)
        if value is None:
            return text.append(f"{'-':>10}", "dim")
        text.append(f"{number(value):>10}", "bold")
        before = self.snapshot.before(version, self.snapshot.parent_of(version))
        text.append_text(facts.change(self.metric, value, before.get(self.metric), ink, version.forgotten))
        at = self._place(value, scale)
        return text.append("  " + "─" * at, ink.faint).append("●", ink.accent) if at is not None else text

    def _place(self, value: float, scale: int) -> int | None:
        """Cell of a value on the scale."""
        low, high = self.ends
        if scale < 4 or (self.log_scale and value <= 0):
            return None
        if self.log_scale:
            low, high, value = (math.log10(v) for v in (low, high, value))
        return round((value - low) / max(high - low, 1e-12) * (scale - 3))

    def on_row_list_chosen(self) -> None:
        """Go to the version."""
        row = self.lines.selected
        if row is not None and row.version is not None:
            self.dismiss(None)
            self.app.post_message(OpenVersion(row.version.number))

    def action_turn(self, by: int) -> None:
        """Show another metric."""
        if self.shown:
            self.metric = after(self.shown, self.metric, by)
            self.fill()

    def action_order(self) -> None:
        """Sort by the value, or in the order of the lineage."""
        self.sorted = not self.sorted
        self.fill()

    def action_log_scale(self) -> None:
        """A logarithmic or a linear scale."""
        self.log_scale = not self.log_scale
        self.fill()

    def action_ask(self) -> None:
        """Open the search."""
        self.query_one(Prompt).open(self.words)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep the metrics that match; all if none does."""
        self.words = event.value
        self.shown = [key for key in self.all if self.words.lower() in key.lower()] or self.all
        if self.metric not in self.shown:
            self.metric = self.shown[0] if self.shown else ""
        self.fill()
