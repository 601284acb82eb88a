"""Runs: queued, active and ended; curves, log, samples and errors of the selected one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static, TabPane

from sa_mlops.registry import names
from tui.messages import Cancel, MoveInQueue, OpenLaunch, OpenVersion
from tui.plain import clean, duration, fit, lines, number
from tui.screens.chart import ChartScreen
from tui.screens.columns import ColumnsScreen
from tui.screens.image import ImageScreen
from tui.screens.keys import bind, hidden, named
from tui.screens.main import MainScreen
from tui.screens.methods import MethodsScreen
from tui.screens.text import TextScreen
from tui.services import columns, export
from tui.services.columns import Column
from tui.services.filters import RUN_HELP
from tui.services.launcher import SLURM, spell, typed
from tui.services.orders import after
from tui.services.pages import page_url
from tui.services.records import CURVES, LOST, SYSTEM, Run, progress, seconds_left, term
from tui.services.runlist import ORDERS, Item, items
from tui.services.store import IMAGE_TYPES, by_step, image_step, picture_name
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.canvas import Canvas, Shown
from tui.widgets.chart import Charts, Drawn, Series
from tui.widgets.ink import LETTERS
from tui.widgets.keys import Keys
from tui.widgets.panes import Panes
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList
from tui.widgets.runline import bar, done, state_text
from tui.widgets.status import StatusBar
from tui.widgets.toast import copy, copy_page

AGE_SECONDS = 10.0
TEXT_TYPES = (".txt", ".log", ".json", ".csv", ".md", ".yaml", ".yml", ".html", ".svg", ".py", "MLmodel")
READ = 1_000_000
"""Bytes of a file that are read to show it."""
EMPTY = "No runs yet. `l` launches one; runs started elsewhere on this store also appear here."


class RunsScreen(MainScreen):
    """The list of runs above the curves, log, samples and results of the selected one."""

    HELP_TEXT = """\
One run a device; queued runs start when their device is free. Runs started here continue when the UI is closed, and
it finds them again. Enter on a comparison opens its table of methods, on other runs the version. Marked runs are drawn
into the same charts, each with a letter."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "runs",
        [
            bind("l", "launch", "launch"),
            bind("a", "again", "again", "the launch form with this run's parameters"),
            bind("x", "cancel", "cancel"),
            bind("space", "mark", "mark", "draw several runs into the same charts"),
            bind("slash", "ask", "filter"),
            bind("o", "order", "sort", f"sort: {', '.join(ORDERS)}"),
            bind("C", "columns", "columns", "choose the columns of the list; remembered"),
            bind("t", "tab(1)", "next tab"),
            bind("f", "full", "full", "the chart or the picture on the whole screen"),
            hidden("full_stop", "scrub(1)", "next step", "samples of the next step"),
            hidden("comma", "scrub(-1)", "step before", "samples of the step before"),
            hidden("w", "save", "save", "save the selected file here, in Files"),
            hidden("E", "export", "export", "write the list to runs.csv and runs.json"),
            hidden("T", "tab(-1)", "previous tab"),
            bind("g", "log_scale", "log", "logarithmic charts"),
            bind("z", "zoom", "zoom", "charts of the last half, quarter, eighth of the steps"),
            bind("m", "turn", "next chart"),
            hidden("left_square_bracket", "move(-1)", "earlier", "up in the queue"),
            hidden("right_square_bracket", "move(1)", "later", "down in the queue"),
            hidden("left", "fold(True)", "fold"),
            hidden("right", "fold(False)", "unfold"),
            bind("v", "version", "version", "open the version that the run made"),
            hidden("y", "copy('id')", "copy", "copy the run's id, or the command of a launch"),
            hidden("Y", "copy('page')", "copy address", "copy the address of its MLflow page"),
            hidden("escape", "back", "back"),
        ],
    )

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.opened: set[str] = set()
        self.marked: list[str] = []
        self.grid_at: int | None = None
        """Index of the sample grid that is shown; None for the newest."""
        self._select: str | None = None

    def compose(self) -> ComposeResult:
        """Status, list, error, panes, keys."""
        yield StatusBar(self.workspace)
        runs: RowList[Item] = RowList(lambda item: item.key, self.paint, header=self.header, id="run-list")
        runs.border_title = "Runs"
        yield runs
        with Vertical(id="run-detail"):
            yield Static(id="run-error", markup=False)
            with Panes(id="run-tabs", initial="loss"):
                with TabPane("Loss", id="loss"):
                    yield Charts(id="loss-charts")
                with TabPane("Log", id="log"), VerticalScroll(id="log-scroll"):
                    yield Static(id="log-text", markup=False)
                with TabPane("Samples", id="grid"):
                    yield Static(id="grid-title", markup=False)
                    yield Canvas(self.workspace.graphics, id="grid-canvas")
                with TabPane("System", id="system"):
                    yield Charts(id="system-charts")
                with TabPane("Files", id="files"):
                    yield RowList[str](str, _paint_file, id="file-list")
                with TabPane("Results", id="results"), VerticalScroll():
                    yield Static(id="result-text", markup=False)
        yield Static(id="no-runs", markup=False)
        yield Prompt(RUN_HELP)
        yield Keys()

    def prepare(self) -> None:
        """Restore the user's choices."""
        for charts in self.query(Charts):
            charts.log_scale = self.workspace.layout.log_scale
        self.runs.focus()
        # Ages grow although nothing else changes.
        self.set_interval(AGE_SECONDS, self.runs.refresh)

    @property
    def runs(self) -> RowList[Item]:
        """The list."""
        return self.query_one("#run-list", RowList)

    @property
    def panes(self) -> Panes:
        """The panes of the selected run."""
        return self.query_one(Panes)

    @property
    def run_order(self) -> str:
        """The order of the list."""
        order = self.workspace.layout.run_order
        return order if order in ORDERS else "newest"

    @property
    def item(self) -> Item | None:
        """The selected line."""
        return self.runs.selected

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show the last reading."""
        self.fill()
        self.follow()

    def fill(self) -> None:
        """Compute the rows."""
        order = self.run_order
        found = items(self.snapshot, self.workspace.launches, self.opened, self.filter, order)
        self.runs.hint = self.hint
        if self._select is not None and any(item.key == self._select for item in found):
            self.runs.set_rows(found, self._select)
            self._select = None
        else:
            self.runs.set_rows(found)
        words = [
            "Runs",
            f"{len(found)} of {len(self.snapshot.runs)}" if self.filter else f"{len(self.snapshot.runs)}",
        ]
        words += [f"by {order}"] if order != "newest" else []
        words += [f"/{clean(self.filter.text, 30)}"] if self.filter else []
        words += [] if self.snapshot.complete else ["reading…"]
        self.runs.border_title = Text(" · ".join(words))
        unread = bool(self.workspace.stale) and not self.snapshot.complete
        self.set_class(not found and not self.filter and (self.snapshot.complete or unread), "-empty")
        self.query_one("#no-runs", Static).update(self.explained(EMPTY))

    def select(self, key: str) -> None:
        """Put the cursor on a run, now or as soon as it appears."""
        run = self.snapshot.runs.get(key)
        if run is not None and run.parent in self.snapshot.runs:
            parent = self.snapshot.runs[run.parent]
            if not parent.active:
                self.opened.add(parent.run_id)
        self._select = key
        self.fill()

    def paint(self, item: Item, width: int) -> Text:
        """A line of the list."""
        ink = self.ink
        text = Text(no_wrap=True)
        mark = LETTERS[self.marked.index(item.key) % len(LETTERS)] if item.key in self.marked else " "
        text.append(f"{mark} ", style=f"bold {ink.warn}")
        if item.run is None:
            assert item.launch is not None
            launch, state = item.launch.launch, item.launch.state
            begun = "◌ as a job" if launch.slot == SLURM else "◌ starting"
            word = {"queued": "○ queued", "running": begun}.get(state, f"✗ {state}")
            text.append(fit(word, 11), style=ink.bad if word.startswith("✗") else ink.accent)
            text.append(fit(launch.entry, 12) + fit(launch.slot or launch.device, 8))
            text.append(fit(spell(launch.command), max(10, width - text.cell_len)), style="dim")
            return text
        for one in self._columns(width):
            text.append_text(self._cell(item, item.run, one)).append(" ")
        return text

    def _columns(self, width: int) -> list[Column]:
        """The columns that fit; without active runs there is no progress to show."""
        keys = self.workspace.layout.columns.get("runs") or columns.RUNS
        active = [r for r in self.snapshot.runs.values() if r.active]
        if all(progress(self.snapshot, r)[1] is None for r in active):
            keys = [key for key in keys if key != "progress"]
        return columns.fitting([columns.column(key) for key in keys], width - 2)

    def _cell(self, item: Item, run: Run, one: Column) -> Text:
        if one.key == "state":
            text = state_text(run.status, self.ink)
        elif one.key == columns.NAME:
            fold = ("▸ " if item.closed else "▾ ") if item.branches else "  "
            text = Text(clean("  " * item.depth + fold + run.label))
        elif one.key == "progress":
            text = self._progress(run)
        else:
            text = Text(clean(columns.value(run, one.key)), style="" if one.key in columns.FIXED else "bold")
        text.truncate(one.width, overflow="ellipsis", pad=True)
        return text

    def _progress(self, run: Run) -> Text:
        if not run.active:
            return Text()
        now, share = progress(self.snapshot, run)
        if share is None:
            return Text("…")
        if done(now, share):
            return Text("measuring")
        left = seconds_left(now, share)
        return Text(f"{bar(share, 6)} {share:>4.0%} {duration(left) if left is not None else ''}")

    def header(self, width: int) -> Text:
        """Headings of the columns."""
        words = " ".join(fit(one.heading, one.width) for one in self._columns(width))
        return Text("  " + words, no_wrap=True)

    def on_row_list_moved(self, _event: RowList.Moved) -> None:
        """Follow the run under the cursor."""
        if _event.sender is self.runs:
            self.grid_at = None
            self.query_one("#log-scroll", VerticalScroll).scroll_end(animate=False)
            self.follow()

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the pane that was opened."""
        self.follow()

    def follow(self) -> None:
        """Fill the error and the open pane for the selected line."""
        item = self.item
        self.query_one("#run-detail", Vertical).border_title = Text(_title(item))
        error = self.query_one("#run-error", Static)
        message = self._error(item)
        error.set_class(bool(message), "-on")
        error.update(Text(message))
        if item is None:
            return
        match self.panes.active:
            case "loss":
                self.read_curves(item, CURVES, self.query_one("#loss-charts", Charts))
            case "system":
                self.read_curves(item, SYSTEM, self.query_one("#system-charts", Charts))
            case "log":
                self.read_log(item)
            case "grid":
                self.read_grid(item)
            case "files":
                self.read_files(item)
            case "results":
                self._results(item)

    def _error(self, item: Item | None) -> str:
        """Cause of a failure, else empty."""
        if item is None:
            return ""
        if item.run is not None and item.run.status == LOST:
            return "✗ its process exited without closing the run; `sa-mlops doctor --fix` ends such runs as KILLED"
        if item.run is not None and item.run.status == "FAILED":
            nested = [r.error for r in self.snapshot.children_of(item.run.run_id) if r.error]
            said = item.run.error or (nested[-1] if nested else "")
            return f"✗ {clean(said, 500)}" if said else "✗ failed without a recorded cause; see its log (t)"
        if item.run is None and item.launch is not None and item.launch.state in ("failed", "lost"):
            status = "" if item.launch.status is None else f" with status {item.launch.status}"
            last = [line for line in self.workspace.launcher.tail(item.key, 40).split("\n") if line.strip()]
            return f"✗ {item.launch.state}{status}: {clean(last[-1], 300) if last else 'no output'}"
        return ""

    def _family(self, item: Item) -> list[Run]:
        """The selected run with its nested ones, then the marked ones."""
        wanted = [item.key, *(key for key in self.marked if key != item.key)]
        found: list[Run] = []
        for key in wanted:
            run = self.snapshot.runs.get(key)
            if run is not None:
                found += [r for r in [run, *self.snapshot.children_of(key)] if r not in found]
        return found

    @work(thread=True, exclusive=True, group="curves")
    def read_curves(self, item: Item, prefixes: tuple[str, ...], charts: Charts) -> None:
        """Read the curves of a run and of the marked ones; of a run that reused a version, those of its making."""
        found: dict[str, list[Series]] = {}
        try:
            for run in self._family(item)[:24]:
                maker = self.snapshot.maker_of(run) or run
                keys = {term(k, prefixes): k for k in sorted(maker.metrics) if term(k, prefixes)}
                read = self.workspace.store.history(maker.run_id, list(keys.values())[:12])
                for name, key in list(keys.items())[:12]:
                    curves = found.setdefault(name, [])
                    if len(curves) < len(LETTERS):
                        curves.append(Series(run.label, read[key]))
        except Exception as error:  # no store: the last curves stay
            self.say(f"curves: {clean(error)}", True)
            return
        drawn = tuple((k, tuple(v)) for k, v in sorted(found.items()))
        self._answer(item, partial(self._charts, item, charts, drawn))

    def _answer(self, item: Item, show: Callable[[], object]) -> None:
        """Show what a worker thread has read, if its line is still selected."""

        def answered() -> None:
            if self.item is not None and self.item.key == item.key:
                show()

        self.call_later(answered)

    def _charts(self, item: Item, charts: Charts, drawn: Drawn) -> None:
        reused = item.run.reused if item.run is not None else ""
        charts.note = f"reused {clean(reused, 60)}: curves of the run that made it" if reused else ""
        charts.charts = drawn

    @work(thread=True, exclusive=True, group="log")
    def read_log(self, item: Item) -> None:
        """Read the end of the log of a run that was started here."""
        top, found = item.run, item.launch
        while found is None and top is not None and top.parent in self.snapshot.runs:
            top = self.snapshot.runs[top.parent]
            found = next((t for t in self.workspace.launches if t.run_id == top.run_id), None)
        if found is None:
            text = self._logged(item)
        else:
            text = Text(f"$ {spell(found.launch.command)}\n", style="bold")
            text.append(lines(self.workspace.launcher.tail(found.launch.key), 400), style="not bold")
        self._answer(item, partial(self._log, text))

    def _logged(self, item: Item) -> Text:
        """The end of standard error that the run, or one nested in it, logged when it failed."""
        family = [] if item.run is None else [item.run, *self.snapshot.children_of(item.run.run_id)]
        for run in family:
            if run.status != "FAILED":
                continue
            try:
                if said := self.workspace.store.log(run):
                    return Text(f"end of standard error of {clean(run.label, 60)}\n", "bold").append(
                        lines(said, 400), style="not bold"
                    )
            except Exception as error:  # lost, or no store: one line in its place
                return Text(f"the log cannot be read: {clean(error)}")
        return Text("started elsewhere: only runs that fail log the end of their standard error", style="dim")

    def _log(self, text: Text) -> None:
        scroll = self.query_one("#log-scroll", VerticalScroll)
        at_end = scroll.scroll_y >= scroll.max_scroll_y - 1
        self.query_one("#log-text", Static).update(text)
        if at_end:
            scroll.scroll_end(animate=False)

    @work(thread=True, exclusive=True, group="grid")
    def read_grid(self, item: Item) -> None:
        """Read the newest sample grid of a run."""
        canvas = self.query_one("#grid-canvas", Canvas)
        shown: Shown = Text("no sample grids yet", style="dim")
        title = ""
        try:
            found = self._grids(item)
            if found is not None:
                run, paths = found
                at = len(paths) - 1 if self.grid_at is None else max(0, min(len(paths) - 1, self.grid_at))
                shown = canvas.read(self.workspace.store.download(run, paths[at]))
                title = (
                    f"{clean(run.label, 40)}: {picture_name(paths[at])}, {at + 1} of {len(paths)}   , . steps"
                )
        except Exception as error:  # lost, no picture, no store: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self._answer(item, partial(self._grid, shown, title))

    def _grids(self, item: Item) -> tuple[Run, list[str]] | None:
        """The run with the newest sample grids in the selected one, and their paths by step. Blocks."""
        for run in self._family(item)[:8]:
            source = self.snapshot.maker_of(run) or run
            if paths := self.workspace.store.grids(source):
                return source, paths
        return None

    def _grid(self, shown: Shown, title: str) -> None:
        self.query_one("#grid-title", Static).update(Text(title, "dim"))
        self.query_one("#grid-canvas", Canvas).show(shown)

    @work(thread=True, exclusive=True, group="files")
    def read_files(self, item: Item) -> None:
        """List the artifacts of a run."""
        try:
            source = item.run and (self.snapshot.maker_of(item.run) or item.run)
            found = [] if source is None else self.workspace.store.artifacts(source)
            # MLflow keeps a compressed copy beside each logged image.
            found = sorted((path for path in found if "+compressed" not in path), key=by_step)
        except Exception as error:  # no artifacts, no store
            self.say(f"files: {clean(error)}", True)
            found = []
        self._answer(item, partial(self.query_one("#file-list", RowList).set_rows, found))

    @work(thread=True, exclusive=True, group="open")
    def open_file(self, run: Run, path: str) -> None:
        """Show a text on a page of its own."""
        try:
            body = self.workspace.store.download(run, path).read_bytes()[:READ]
            shown = Text(lines(body.decode(errors="replace"), 400, 5000))
        except Exception as error:  # lost, or no store: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.app.call_later(self.app.push_screen, TextScreen(clean(path, 100), shown))

    @work(thread=True, group="save")
    def save_file(self, run: Run, path: str) -> None:
        """Copy an artifact into the working folder, beside files of that name."""
        try:
            name = Path(path)
            (out,) = export.unused(Path.cwd() / name.stem, name.suffix)
            shutil.copyfile(self.workspace.store.download(run, path), out)
        except Exception as error:  # lost, or no place to write
            self.say(f"not written: {clean(error)}", True)
        else:
            self.say(f"written to {out}")

    def _results(self, item: Item) -> None:
        text = Text()
        if item.run is not None:
            text.append(f"run {clean(item.run.run_id)}  {item.run.status.lower()}\n", style="bold")
            text.append(
                clean(page_url(self.workspace.store.uri, run=item.run), 300) + "\n\n", style="underline"
            )
            found = names.results(item.run.metrics)
            text.append_text(facts.pairs({k: number(v) for k, v in found.items()}, facts.by_importance))
            text.append("\nparameters\n", style="bold")
            text.append_text(facts.pairs(item.run.given))
            text.append("\ntags\n", style="bold")
            text.append_text(facts.pairs(item.run.tags))
        elif item.launch is not None:
            text.append(spell(item.launch.launch.command))
        self.query_one("#result-text", Static).update(text)

    # ------------------------------------------------------------------ keys

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Enter: the table of a comparison, else unfold, else open the version; in Files, open the file."""
        item = self.item
        if event.sender.id == "file-list":
            if item is not None and item.run is not None:
                self._open(item.run, event.key)
            return
        if item is not None and item.run is not None and item.run.entry == "compare":
            self.app.push_screen(MethodsScreen(self.workspace, item.run))
        elif item is not None and item.branches:
            self.action_fold(not item.closed)
        elif self.narrow:
            self.add_class("-detail")
            self.query_one("#run-detail", Vertical).border_subtitle = "esc back"
            self.call_after_refresh(self.panes.focus_pane)
            self.follow()
        else:
            self.action_version()

    def _open(self, run: Run, path: str) -> None:
        run = self.snapshot.maker_of(run) or run
        if path.lower().endswith(IMAGE_TYPES):
            paths = [p for p in self.query_one("#file-list", RowList).rows if p.lower().endswith(IMAGE_TYPES)]
            fetch = partial(self.workspace.store.download, run)
            self.app.push_screen(ImageScreen(paths, paths.index(path), fetch, self.workspace.graphics))
        elif path.lower().endswith(TEXT_TYPES):
            self.open_file(run, path)
        else:
            self.say(f"{path} is neither a text nor a picture; w saves it")

    def action_save(self) -> None:
        """Save the selected file."""
        if self.workspace.read_only:
            self.say("read-only: nothing is written", True)
            return
        path = self.query_one("#file-list", RowList).selected
        if self.panes.active != "files" or path is None:
            self.say("open Files (t) and select a file first")
        elif self.item is not None and self.item.run is not None:
            self.save_file(self.snapshot.maker_of(self.item.run) or self.item.run, path)

    def action_order(self) -> None:
        """Sort by the next order."""
        self.workspace.layout.run_order = after(list(ORDERS), self.run_order)
        self.fill()

    def action_columns(self) -> None:
        """Choose the columns."""
        layout = self.workspace.layout

        def chosen(keys: list[str] | None) -> None:
            if keys is not None:
                layout.columns["runs"] = keys
                self.runs.refresh()

        shown = layout.columns.get("runs") or list(columns.RUNS)
        known = columns.known(self.snapshot.runs.values())
        self.app.push_screen(ColumnsScreen(known, shown, columns.RUNS), chosen)

    def action_scrub(self, by: int) -> None:
        """Samples of another step."""
        item = self.item
        if item is not None and self.panes.active == "grid":
            self.scrub(item, by)

    @work(thread=True, exclusive=True, group="scrub")
    def scrub(self, item: Item, by: int) -> None:
        """Find the step beside the shown one."""
        found = self._grids(item)
        if found is not None:
            last = len(found[1]) - 1
            self.grid_at = max(0, min(last, (last if self.grid_at is None else self.grid_at) + by))
            self.call_later(self.read_grid, item)

    def action_full(self) -> None:
        """The charts, or the sample grids, on the whole screen."""
        active = self.panes.active
        if active in ("loss", "system"):
            charts = self.query_one(f"#{active}-charts", Charts)
            if charts.charts:
                self.app.push_screen(ChartScreen(charts.charts, charts.offset_by, charts.log_scale))
        elif active == "grid" and self.item is not None:
            self.open_grids(self.item)

    @work(thread=True, exclusive=True, group="open")
    def open_grids(self, item: Item) -> None:
        """Show the sample grids over their steps on the whole screen."""
        found = self._grids(item)
        if found is not None:
            run, paths = found
            at = len(paths) - 1 if self.grid_at is None else self.grid_at
            fetch = partial(self.workspace.store.download, run)
            self.app.call_later(self.app.push_screen, ImageScreen(paths, at, fetch, self.workspace.graphics))

    def action_export(self) -> None:
        """Write the listed runs as CSV and JSON into the working folder."""
        listed = [item.run for item in self.runs.rows if item.run is not None]
        self.say(*export.written(export.of_runs(listed), Path.cwd() / "runs", self.workspace.read_only))

    def action_back(self) -> None:
        """Back to the list, else remove the filter, else the marks."""
        if self.has_class("-detail"):
            self.remove_class("-detail")
            self.query_one("#run-detail", Vertical).border_subtitle = ""
        elif self.focused is self.runs and not self.drop_filter() and self.marked:
            self.marked.clear()
            self.runs.refresh()
            self.follow()
        self.runs.focus()

    def action_tab(self, by: int) -> None:
        """Open the next pane."""
        self.panes.turn(by)
        if self.has_class("-detail"):
            self.call_after_refresh(self.panes.focus_pane)

    def action_fold(self, closed: bool) -> None:
        """Fold or unfold nested runs."""
        item = self.item
        if item is not None and item.branches and closed != item.closed:
            self.opened ^= {item.key}
            self.fill()

    def action_mark(self) -> None:
        """Mark or unmark a run: marked ones share the charts."""
        item = self.item
        if item is None or item.run is None:
            return
        if item.key in self.marked:
            self.marked.remove(item.key)
        else:
            self.marked.append(item.key)
        self.runs.refresh()
        self.follow()

    def action_log_scale(self) -> None:
        """Logarithmic or linear charts."""
        self.workspace.layout.log_scale = not self.workspace.layout.log_scale
        for charts in self.query(Charts):
            charts.log_scale = self.workspace.layout.log_scale

    def action_zoom(self) -> None:
        """The last half, quarter, eighth of the steps, then all."""
        for charts in self.query(Charts):
            charts.zoom = (charts.zoom + 1) % 4

    def action_turn(self) -> None:
        """Start with the next chart."""
        for charts in self.query(Charts):
            charts.offset_by += 1

    def action_version(self) -> None:
        """Open the newest version that the run made."""
        item = self.item
        if item is None or item.run is None:
            return
        made = self.snapshot.made_by(item.run.run_id)
        if made:
            self.post_message(OpenVersion(made[-1].number))
        else:
            self.say("this run has made no version")

    def action_copy(self, what: str) -> None:
        """Copy the run's id, the address of its page, or the command of a launch without a run."""
        item = self.item
        if item is None:
            return
        if item.run is None:
            assert item.launch is not None
            copy(self, typed(item.launch.launch.command, self.workspace.store.uri))
        elif what == "id":
            copy(self, item.key)
        else:
            copy_page(self, self.workspace.store, run=item.run)

    def action_launch(self) -> None:
        """Open the launch form."""
        self.post_message(OpenLaunch("forget", self.workspace.defaults))

    def action_again(self) -> None:
        """Open the launch form with the parameters of the selected run."""
        item = self.item
        if item is not None and item.run is not None:
            self.post_message(OpenLaunch(item.run.entry, item.run.given))
        elif item is not None and item.launch is not None:
            words = item.launch.launch.command
            given = [w.partition("=") for flag, w in pairwise(words) if flag == "-P"]
            self.post_message(OpenLaunch(item.launch.launch.entry, {key: value for key, _, value in given}))

    def action_cancel(self) -> None:
        """Cancel the selected launch, after a question."""
        item = self.item
        if item is None:
            return
        if item.launch is None or not item.launch.live:
            self.say("only active runs that were started here can be cancelled")
        else:
            self.post_message(Cancel(item.launch))

    def action_move(self, places: int) -> None:
        """Move a queued run up or down."""
        item = self.item
        if item is not None and item.launch is not None and item.launch.state == "queued":
            self.post_message(MoveInQueue(item.launch, places))


def _title(item: Item | None) -> str:
    """The name of a run, or the command of a launch without one."""
    if item is None:
        return ""
    if item.run is not None:
        return clean(item.run.label, 70)
    return clean(spell(item.launch.launch.command), 70) if item.launch is not None else ""


def _paint_file(path: str, width: int) -> Text:
    """A path; an image that MLflow has given a long name by the name it was logged with."""
    folder, slash, _ = path.rpartition("/")
    return Text(clean(f"{folder}{slash}{picture_name(path)}" if image_step(path) >= 0 else path, width))
