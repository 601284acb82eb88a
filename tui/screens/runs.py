"""Runs: queued, active and ended; curves, log, samples and errors of the selected one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Footer, Static, TabbedContent, TabPane

from sa_mlops.registry import names
from tui.messages import Cancel, MoveInQueue, OpenLaunch, OpenVersion
from tui.plain import age, clean, duration, fit, lines, number
from tui.screens.main import MainScreen
from tui.services.launcher import SLURM, Tracked, spell
from tui.services.records import CURVES, LOST, SYSTEM, Run, Snapshot, progress, seconds_left
from tui.services.store import page_url
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.canvas import Canvas, Shown
from tui.widgets.chart import Charts, Series
from tui.widgets.ink import LETTERS
from tui.widgets.rows import RowList
from tui.widgets.runline import bar, state_text
from tui.widgets.status import StatusBar
from tui.widgets.toast import copy

AGE_SECONDS = 10.0
EMPTY = "No runs yet. `l` launches one; runs started elsewhere on this store also appear here."


@dataclass(frozen=True, slots=True)
class Item:
    """A line: a run, a launch without a run, or both."""

    key: str
    run: Run | None = None
    launch: Tracked | None = None
    depth: int = 0
    branches: bool = False
    closed: bool = False


def items(snapshot: Snapshot, launches: tuple[Tracked, ...], opened: set[str]) -> list[Item]:
    """Launches without a run first, then runs, newest first, with nested ones under those that are open or active."""
    by_run = {s.run_id: s for s in launches if s.run_id}
    known = set(snapshot.runs)
    waiting = [s for s in launches if s.run_id not in known]
    waiting.sort(key=lambda s: (not s.live, s.launch.order if s.live else -s.launch.order))
    out = [Item(s.launch.key, None, s) for s in waiting if s.live or s.state in ("failed", "lost")]
    children: dict[str, list[Run]] = {}
    tops = []
    for run in snapshot.runs.values():
        if run.parent in known and run.parent != run.run_id:
            children.setdefault(run.parent, []).append(run)
        else:
            tops.append(run)
    tops.sort(key=lambda r: (-r.started, r.run_id))
    for top in tops:
        _add(out, top, 0, children, by_run, opened, set())
    return out


def _add(
    out: list[Item],
    run: Run,
    depth: int,
    children: dict[str, list[Run]],
    by_run: dict[str, Tracked],
    opened: set[str],
    above: set[str],
) -> None:
    nested = [c for c in children.get(run.run_id, []) if c.run_id not in above]
    shown = run.active != (run.run_id in opened)
    out.append(Item(run.run_id, run, by_run.get(run.run_id), depth, bool(nested), not shown))
    if shown and depth < 6:
        for child in sorted(nested, key=lambda r: (r.started, r.run_id)):
            _add(out, child, depth + 1, children, by_run, opened, above | {run.run_id})


class RunsScreen(MainScreen):
    """The list of runs above the curves, log, samples and results of the selected one."""

    HELP_TEXT = """\
One run a device; queued runs start when their device is free. Runs started here continue when the UI is closed, and
it finds them again. Marked runs are drawn into the same charts, each with a letter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "launch", "launch"),
        Binding("a", "again", "again", tooltip="the launch form with this run's parameters"),
        Binding("x", "cancel", "cancel"),
        Binding("space", "mark", "mark", tooltip="draw several runs into the same charts"),
        Binding("t", "tab(1)", "next tab"),
        Binding("T", "tab(-1)", "previous tab", show=False),
        Binding("g", "log_scale", "log", tooltip="logarithmic charts"),
        Binding("z", "zoom", "zoom", tooltip="charts of the last half, quarter, eighth of the steps"),
        Binding("m", "turn", "next chart"),
        Binding("left_square_bracket", "move(-1)", "earlier", show=False, tooltip="up in the queue"),
        Binding("right_square_bracket", "move(1)", "later", show=False, tooltip="down in the queue"),
        Binding("left", "fold(True)", "fold", show=False),
        Binding("right", "fold(False)", "unfold", show=False),
        Binding("v", "version", "version", tooltip="open the version that the run made"),
        Binding(
            "y", "copy('id')", "copy", show=False, tooltip="copy the run's id, or the command of a launch"
        ),
        Binding(
            "Y", "copy('page')", "copy address", show=False, tooltip="copy the address of its MLflow page"
        ),
        Binding("escape", "back", "back", show=False),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.opened: set[str] = set()
        self.marked: list[str] = []
        self._select: str | None = None

    def compose(self) -> ComposeResult:
        """Status, list, error, panes, keys."""
        yield StatusBar(self.workspace)
        runs: RowList[Item] = RowList(lambda item: item.key, self.paint, header=_header, id="run-list")
        runs.border_title = "Runs"
        yield runs
        with Vertical(id="run-detail"):
            yield Static(id="run-error", markup=False)
            with TabbedContent(id="run-tabs", initial="loss"):
                with TabPane("Loss", id="loss"):
                    yield Charts(id="loss-charts")
                with TabPane("Log", id="log"), VerticalScroll(id="log-scroll"):
                    yield Static(id="log-text", markup=False)
                with TabPane("Samples", id="grid"):
                    yield Canvas(self.workspace.graphics, id="grid-canvas")
                with TabPane("System", id="system"):
                    yield Charts(id="system-charts")
                with TabPane("Results", id="results"), VerticalScroll():
                    yield Static(id="result-text", markup=False)
        yield Static(id="no-runs", markup=False)
        yield Footer(compact=True)

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
        found = items(self.snapshot, self.workspace.launches, self.opened)
        if self._select is not None and any(item.key == self._select for item in found):
            self.runs.set_rows(found, self._select)
            self._select = None
        else:
            self.runs.set_rows(found)
        more = "" if self.snapshot.complete else " · reading…"
        self.runs.border_title = Text(f"Runs · {len(self.snapshot.runs)}{more}")
        unread = bool(self.workspace.stale) and not self.snapshot.complete
        self.set_class(not found and (self.snapshot.complete or unread), "-empty")
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
        run = item.run
        status = state_text(run.status, ink)
        status.truncate(11, pad=True)
        text.append_text(status)
        fold = ("▸ " if item.closed else "▾ ") if item.branches else "  "
        wide = width >= 110
        text.append(fit("  " * item.depth + fold + run.label, 30 if wide else 22) + " ")
        if wide:
            start = run.start_version
            text.append(fit(run.entry, 11) + fit(f"v{start}" if start else "", 5))
            text.append(fit(run.classes, 14))
        text.append_text(self._progress(run))
        text.append(fit(age(run.started), 8) + fit(duration(run.seconds()), 8))
        found = names.results(run.metrics)
        shown = [("p", "forget.prob"), ("r", "retain.accuracy"), ("gap", "objective.gap")]
        words = [f"{label} {number(found[key])}" for label, key in shown if key in found]
        text.append("  ".join(words), style="dim")
        return text

    def _progress(self, run: Run) -> Text:
        now, share = progress(self.snapshot, run) if run.active else (run, None)
        left = seconds_left(now, share)
        if not run.active or share is None:
            return Text(fit("" if not run.active else "…", 21))
        return Text(fit(f"{bar(share, 8)} {share:>4.0%} {duration(left) if left is not None else ''}", 21))

    def on_row_list_moved(self, _event: RowList.Moved) -> None:
        """Follow the run under the cursor."""
        self.query_one("#log-scroll", VerticalScroll).scroll_end(animate=False)
        self.follow()

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the pane that was opened."""
        self.follow()

    def follow(self) -> None:
        """Fill the error and the open pane for the selected line."""
        item = self.item
        error = self.query_one("#run-error", Static)
        message = self._error(item)
        error.set_class(bool(message), "-on")
        error.update(Text(message))
        if item is None:
            return
        match self.query_one("#run-tabs", TabbedContent).active:
            case "loss":
                self.read_curves(item, CURVES, self.query_one("#loss-charts", Charts))
            case "system":
                self.read_curves(item, SYSTEM, self.query_one("#system-charts", Charts))
            case "log":
                self.read_log(item)
            case "grid":
                self.read_grid(item)
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
    def read_curves(self, item: Item, prefix: str, charts: Charts) -> None:
        """Read the curves of a run and of the marked ones."""
        found: dict[str, list[Series]] = {}
        try:
            for run in self._family(item)[:24]:
                keys = sorted(k for k in run.metrics if k.startswith(prefix))[:12]
                for key, points in self.workspace.store.history(run.run_id, keys).items():
                    curves = found.setdefault(key, [])
                    if len(curves) < len(LETTERS):
                        curves.append(Series(run.label, points))
        except Exception as error:  # no store: the last curves stay
            self.say(f"curves: {clean(error)}", True)
            return
        drawn = tuple((key.removeprefix(prefix), tuple(curves)) for key, curves in sorted(found.items()))
        self.call_later(self._charts, item, charts, drawn)

    def _charts(self, item: Item, charts: Charts, drawn: tuple[tuple[str, tuple[Series, ...]], ...]) -> None:
        if self.item is not None and self.item.key == item.key:
            charts.charts = drawn

    @work(thread=True, exclusive=True, group="log")
    def read_log(self, item: Item) -> None:
        """Read the end of the log of a run that was started here."""
        top, found = item.run, item.launch
        while found is None and top is not None and top.parent in self.snapshot.runs:
            top = self.snapshot.runs[top.parent]
            found = next((t for t in self.workspace.launches if t.run_id == top.run_id), None)
        if found is None:
            text = Text("started elsewhere: the log is not on this machine", style="dim")
        else:
            text = Text(f"$ {spell(found.launch.command)}\n", style="bold")
            text.append(lines(self.workspace.launcher.tail(found.launch.key), 400), style="not bold")
        self.call_later(self._log, item, text)

    def _log(self, item: Item, text: Text) -> None:
        if self.item is not None and self.item.key == item.key:
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
        try:
            for run in self._family(item)[:8]:
                path = self.workspace.store.newest_samples(run)
                if path is not None:
                    shown = canvas.read(self.workspace.store.download(run, path))
                    if run.active:
                        break
        except Exception as error:  # lost, no picture, no store: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.call_later(self._grid, item, shown)

    def _grid(self, item: Item, shown: Shown) -> None:
        if self.item is not None and self.item.key == item.key:
            self.query_one("#grid-canvas", Canvas).show(shown)

    def _results(self, item: Item) -> None:
        text = Text()
        if item.run is not None:
            text.append(f"run {clean(item.run.run_id)}  {item.run.status.lower()}\n", style="bold")
            text.append(
                clean(page_url(self.workspace.store.uri, run=item.run), 300) + "\n\n", style="underline"
            )
            found = names.results(item.run.metrics)
            text.append_text(facts.pairs({k: number(v) for k, v in found.items()}))
            text.append("\nparameters\n", style="bold")
            text.append_text(facts.pairs(item.run.given))
            text.append("\ntags\n", style="bold")
            text.append_text(facts.pairs(item.run.tags))
        elif item.launch is not None:
            text.append(spell(item.launch.launch.command))
        self.query_one("#result-text", Static).update(text)

    # ------------------------------------------------------------------ keys

    def on_row_list_chosen(self, _event: RowList.Chosen) -> None:
        """Enter: unfold, else open the version."""
        item = self.item
        if item is not None and item.branches:
            self.action_fold(not item.closed)
        elif self.narrow:
            self.add_class("-detail")
            self.call_after_refresh(self.query_one("#run-tabs Tabs").focus)
            self.follow()
        else:
            self.action_version()

    def action_back(self) -> None:
        """Back to the list."""
        if self.has_class("-detail"):
            self.remove_class("-detail")
        elif self.focused is self.runs and self.marked:
            self.marked.clear()
            self.runs.refresh()
            self.follow()
        self.runs.focus()

    def action_tab(self, by: int) -> None:
        """Open the next pane."""
        panes = self.query_one("#run-tabs", TabbedContent)
        ids = [pane.id or "" for pane in panes.query(TabPane)]
        panes.active = ids[(ids.index(panes.active) + by) % len(ids)]

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
            copy(self, spell(item.launch.launch.command))
        else:
            copy(self, item.key if what == "id" else page_url(self.workspace.store.uri, run=item.run))

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


def _header(width: int) -> Text:
    wide = width >= 110
    words = fit("  state", 13) + fit("  run", 31 if wide else 23)
    if wide:
        words += fit("entry", 11) + fit("from", 5) + fit("classes", 14)
    return Text(words + fit("progress", 21) + fit("begun", 8) + fit("took", 8) + "results", no_wrap=True)
