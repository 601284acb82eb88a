"""A comparison of methods as a table: a method a line, its rows below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from sa_mlops.comparison import reading
from sa_mlops.comparison.reading import Table
from sa_mlops.comparison.rows import Row, span, spell
from sa_mlops.registry import names
from tui.messages import OpenVersion
from tui.plain import clean
from tui.screens.image import ImageScreen
from tui.screens.keys import bind, hidden, named
from tui.screens.modal import Modal
from tui.services import columns, export
from tui.services.columns import Column
from tui.services.orders import after, ranked, wish
from tui.services.records import Run
from tui.services.workspace import Workspace
from tui.widgets.ink import Ink
from tui.widgets.keys import Keys
from tui.widgets.rows import RowList
from tui.widgets.toast import say

DATA, TARGET, VERSION = "real data", "target", "version"


@dataclass(frozen=True, slots=True)
class Line:
    """A method with all of its rows, or one of them."""

    key: str
    name: str
    rows: Sequence[Row]
    depth: int = 0
    closed: bool = False

    @property
    def branches(self) -> bool:
        """Whether rows stand below it."""
        return self.depth == 0 and len(self.rows) > 1

    def value(self, measure: str) -> float:
        """Mean over the seeds of the mean over the classes; NaN if it is unknown."""
        return span(self.rows, measure).mean

    @property
    def version(self) -> int | None:
        """Number of its generator; None with several."""
        target = names.parse_uri(self.rows[0].version) if len(self.rows) == 1 else None
        return None if target is None else target[1]


class MethodsScreen(Modal[None]):
    """The table of a comparison.

    Parameters
    ----------
    run : of the entry point `compare`.
    """

    HELP_TEXT = """\
A line is a method, with the mean over its classes and seeds; → shows the rows below it. p: the judge's probability of
the forgotten class, as drawn and after automatic levels; screen: of the label that the screen chooses. ◆ is the best
of a column among the methods."""
    BINDINGS: ClassVar[list[BindingType]] = named(
        "methods",
        [
            bind("escape,q", "dismiss(None)", "close"),
            bind("o", "order(1)", "sort", "sort by the next column, the best first"),
            hidden("O", "order(-1)", "sort back", "sort by the column before"),
            bind("right", "fold(False)", "unfold"),
            bind("left", "fold(True)", "fold"),
            bind("f", "figure", "figure", "the figure of the comparison"),
            bind("E", "export", "export", "write methods.csv and methods.json"),
        ],
    )

    def __init__(self, workspace: Workspace, run: Run) -> None:
        super().__init__()
        self.workspace = workspace
        self.run = run
        self.table: Table | None = None
        self.order = ""
        self.opened: set[str] = set()
        self.note = "reading…"

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        lines: RowList[Line] = RowList(lambda line: line.key, self.paint, header=self.header, id="methods")
        lines.border_subtitle = "→ rows   enter version   esc close   ? help"
        yield lines
        yield Keys()

    def on_mount(self) -> None:
        """Read the table."""
        self.fill()
        self.load()

    @property
    def lines(self) -> RowList[Line]:
        """The list."""
        return self.query_one("#methods", RowList)

    @work(thread=True)
    def load(self) -> None:
        """Read the table in a worker thread."""
        table, note = None, ""
        try:
            table = reading.read(self.workspace.store.download(self.run, reading.ARTIFACT).read_text())
        except FileNotFoundError:
            note = "no table yet: the comparison writes it at its end"
        except Exception as error:  # no store, no table: one line in its place
            note = f"cannot be shown: {clean(error)}"
        self.app.call_later(self.loaded, table, note)

    def loaded(self, table: Table | None, note: str) -> None:
        """Show the table."""
        self.table, self.note = table, note
        self.fill()

    def fill(self) -> None:
        """Compute the lines."""
        found: list[Line] = []
        groups: dict[str, list[Row]] = {}
        for row in self.table.rows if self.table else ():
            groups.setdefault(row.method, []).append(row)
        methods = [Line(name, name, rows, closed=name not in self.opened) for name, rows in groups.items()]
        for line in self._sorted(methods):
            found.append(line)
            if line.branches and not line.closed:
                below = [
                    Line(f"{r.method} {r.name} {r.seed}", f"  class {r.name}, seed {r.seed}", [r], 1)
                    for r in line.rows
                ]
                found += self._sorted(below)
        words = [
            clean(self.run.name, 60),
            f"{sum(n.name != 'base' for n in methods)} methods" if self.table else self.note,
        ]
        words += [f"by {self.table.measures[self.order]}"] if self.table and self.order else []
        self.lines.border_title = Text(" · ".join(words))
        self.lines.set_rows(found)

    def _sorted(self, lines: list[Line]) -> list[Line]:
        return (
            ranked(lines, lambda n: n.value(self.order), rising=wish(self.order) > 0) if self.order else lines
        )

    def _columns(self, width: int) -> list[Column]:
        measures = self.table.measures if self.table else {}
        found = [Column(columns.NAME, "method", 15, 0)]
        found += [
            Column(k, words, max(7, len(words)), i + 1) for i, (k, words) in enumerate(measures.items())
        ]
        found += [Column(VERSION, VERSION, 7, 20), Column(DATA, DATA, 9, 21), Column(TARGET, TARGET, 13, 22)]
        return columns.fitting(found, width)

    def header(self, width: int) -> Text:
        """Headings of the columns; an arrow at the one that sorts."""
        text = Text(no_wrap=True)
        for one in self._columns(width):
            word = one.heading + "↓" * (one.key == self.order)
            text.append((word.ljust if one.key == columns.NAME else word.rjust)(one.width) + " ")
        return text

    def paint(self, line: Line, width: int) -> Text:
        """A line of the table."""
        text = Text(no_wrap=True)
        for one in self._columns(width):
            style, cell = "", Text()
            if one.key == columns.NAME:
                fold = ("▸ " if line.closed else "▾ ") if line.branches else "  "
                cell = Text(clean(fold + line.name, 60))
                cell.truncate(one.width, overflow="ellipsis", pad=True)
            elif one.key == VERSION:
                cell = Text("" if line.version is None else f"v{line.version}")
            elif one.key == DATA:
                cell = Text("yes" if line.rows[0].needs_data else "no")
            elif one.key == TARGET:
                cell = Text(clean(line.rows[0].target or "-", one.width))
            else:
                words = spell(one.key, line.value(one.key))
                best = line.depth == 0 and line.name != "base" and words == self._best(one.key)
                style = Ink.of(self.app).good if best else ""
                cell = Text(("◆" if best else "") + words)
            cell.style = style
            if one.key != columns.NAME:
                cell.align("right", one.width)
            text.append_text(cell).append(" ")
        return text

    def _best(self, measure: str) -> str:
        """The best value of a measure among the methods, as text."""
        values = [n.value(measure) for n in self.lines.rows if n.depth == 0 and n.name != "base"]
        known = [v for v in values if not math.isnan(v)]
        return spell(measure, (max if wish(measure) > 0 else min)(known)) if len(known) > 1 else ""

    def on_row_list_chosen(self) -> None:
        """Unfold a method with several rows, else go to the version."""
        line = self.lines.selected
        if line is None:
            return
        if line.branches:
            self.action_fold(not line.closed)
        elif line.version is None or self.workspace.snapshot.generator(line.version) is None:
            say(self, "this row has no version here")
        else:
            self.dismiss(None)
            self.app.post_message(OpenVersion(line.version))

    def action_fold(self, closed: bool) -> None:
        """Fold or unfold the rows of a method."""
        line = self.lines.selected
        if line is not None and line.branches and closed != line.closed:
            self.opened ^= {line.key}
            self.fill()

    def action_order(self, by: int) -> None:
        """Sort by another column."""
        if self.table is not None:
            self.order = after(["", *self.table.measures], self.order, by)
            self.fill()

    def action_figure(self) -> None:
        """Show the figure."""
        fetch = partial(self.workspace.store.download, self.run)
        self.app.push_screen(ImageScreen([reading.FIGURE], 0, fetch, self.workspace.graphics))

    def action_export(self) -> None:
        """Write every row."""
        if self.table is not None:
            records = [row.values(self.table.measures) for row in self.table.rows]
            say(self, *export.written(records, Path.cwd() / "methods", self.workspace.read_only))
