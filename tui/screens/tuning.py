"""Studies: their trials as a scatter, and the trial under the cursor in detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static, TabPane

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.messages import OpenLaunch, OpenVersion, Promote
from tui.plain import clean, fit, number, whole
from tui.screens.keys import bind, hidden, named
from tui.screens.main import MainScreen
from tui.services import columns, importance
from tui.services.columns import Column
from tui.services.filters import of_run
from tui.services.orders import after, ranked
from tui.services.records import STUDY, TRIAL, Run
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.keys import Keys
from tui.widgets.panes import Panes
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList
from tui.widgets.runline import activity, bar
from tui.widgets.scatter import Log, Scatter, Trial
from tui.widgets.status import StatusBar
from tui.widgets.toast import copy

GAP, RETENTION, DROP = "objective.gap", "objective.retention", "retain.class_drop_max"
EMPTY = (
    "No study yet. `l` opens the launch form for the entry point `tune`, which searches for better settings."
)


FILTER_HELP = "gap<0.01  retention>=0.98  lr<0.02  -word excludes"
LOGS: tuple[Log, ...] = ("", "gap", "both")
OBJECTIVES = ("trial", "gap", "retention")
"""Columns of the table before those of the parameters."""
MARK_CELLS = 3
"""Cells of the mark of a trial on the front."""


class TuningScreen(MainScreen):
    """One study at a time."""

    HELP_TEXT = """\
Every point is a trial: its forgetting gap (less is better) against its retention (more is better). Home and End walk
along the Pareto front, arrows go to any trial. Trials is their table, Importance the share of the variance of each
objective that a parameter explains (fANOVA). Filter words: gap<0.01 retention>=0.98 lr<0.02 -word excludes."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "tuning",
        [
            bind("l", "launch", "launch"),
            bind("enter", "version", "version", "go to the trial's version"),
            bind("p", "promote", "promote", "promote the trial's version"),
            hidden("left_square_bracket", "study(-1)", "study before"),
            bind("right_square_bracket", "study(1)", "next study"),
            bind("t", "tab", "next tab", "chart, table of trials, importance"),
            bind("slash", "ask", "filter", "filter the trials of chart and table"),
            bind("o", "order(1)", "sort", "sort the table by the next column"),
            hidden("O", "order(-1)", "sort back", "sort by the column before"),
            bind("g", "log_scale", "log", "logarithmic gap, then also distance of retention from 1"),
            hidden("escape", "back", "back"),
            bind("y", "copy", "copy", "copy the run id of the trial"),
        ],
    )

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.studies: list[Run] = []
        self.study: str | None = None
        self.order = "trial"
        self.widths: dict[str, int] = {}
        self._weighed: tuple[str, int] | None = None

    def compose(self) -> ComposeResult:
        """Status, scatter beside detail, keys."""
        yield StatusBar(self.workspace)
        with Horizontal(id="tuning-panes"):
            with Panes(id="tuning-tabs"):
                with TabPane("Chart", id="chart-tab"):
                    yield Scatter(id="scatter")
                with TabPane("Trials", id="trials-tab"):
                    yield RowList[Run](lambda r: r.run_id, self.paint, header=self.header, id="trial-list")
                with TabPane("Importance", id="importance-tab"), VerticalScroll():
                    yield Static(id="importance", markup=False)
            with VerticalScroll(id="trial"):
                yield Static(id="trial-text", markup=False)
        yield Static(id="no-study", markup=False)
        yield Prompt(FILTER_HELP)
        yield Keys()

    @property
    def panes(self) -> Panes:
        """Chart, table and importance."""
        return self.query_one(Panes)

    def prepare(self) -> None:
        """Focus the scatter."""
        self.query_one(Scatter).focus()

    def show(self) -> None:
        """Show the studies of the last reading."""
        runs = self.snapshot.runs.values()
        found = [r for r in runs if names.STAGE in r.tags and r.stage == "tune" and self._trials(r)]
        found += [r for r in runs if r.stage == "tune" and r.active and r not in found]
        self.studies = sorted(found, key=lambda r: -r.started)
        if self.study not in {r.run_id for r in self.studies}:
            self.study = self.studies[0].run_id if self.studies else None
        self.set_class(not self.studies, "-empty")
        self.query_one("#no-study", Static).update(self.explained(EMPTY))
        self.fill()

    def _trials(self, study: Run) -> list[Run]:
        """Trials of a study, also of earlier runs of the same name."""
        name = study.tags.get(STUDY, "")
        return [
            r
            for r in self.snapshot.runs.values()
            if TRIAL in r.tags  # the comparison of the chosen settings has objectives too
            if r.parent == study.run_id or (name and r.tags.get(STUDY) == name)
            if GAP in r.metrics and RETENTION in r.metrics
        ]

    def fill(self) -> None:
        """Show the study."""
        scatter = self.query_one(Scatter)
        study = self.snapshot.runs.get(self.study or "")
        trials = self._kept(study)
        table = self.query_one("#trial-list", RowList)
        table.hint = scatter.hint = self.hint
        self.widths = self._widths(trials)
        table.set_rows(self._sorted(trials))
        scatter.set_trials(
            [Trial(r.run_id, r.metrics[GAP], r.metrics[RETENTION], r.metrics.get(DROP, 0.0)) for r in trials]
        )
        if study is not None:
            at = next(i for i, r in enumerate(self.studies) if r.run_id == study.run_id)
            name = clean(study.tags.get(STUDY, "") or study.name, 40)
            scatter.border_title = Text(
                f"{name} · {len(trials)} trials · study {at + 1} of {len(self.studies)}"
                + (f" · /{clean(self.filter.text, 30)}" if self.filter else "")
            )
            self.weigh_once(study)
        self.describe()

    def _kept(self, study: Run | None) -> list[Run]:
        """Trials of a study under the filter; `gap`, `retention` and the parameters are its numbers."""
        found = self._trials(study) if study is not None else []
        return [run for run in found if self.filter.matches(of_run(run, self.numbers(run)))]

    def numbers(self, run: Run) -> dict[str, float]:
        """Number of a trial, its objectives and its numeric parameters by the names of the table."""
        found = {"trial": float(whole(run.tags.get(TRIAL, ""))), "gap": run.metrics[GAP]}
        found["retention"] = run.metrics[RETENTION]
        for key, word in run.given.items():
            try:
                found[key] = float(word)
            except ValueError:
                continue
        return found

    def _widths(self, runs: Sequence[Run]) -> dict[str, int]:
        """Cells of every column of the table."""
        keys = dict.fromkeys(key for run in runs for key in self.numbers(run))
        return {key: max([len(key), *(len(self._cell(run, key)) for run in runs)]) for key in keys}

    def _sorted(self, runs: Sequence[Run]) -> list[Run]:
        """By the chosen column; the largest retention first, else the smallest."""
        return ranked(runs, lambda r: self.numbers(r).get(self.order), rising=self.order == "retention")

    def _columns(self, width: int) -> list[Column]:
        """The columns that fit beside the mark of the front; the one that sorts has room for its arrow."""
        found = []
        for i, (key, cells) in enumerate(self.widths.items()):
            sorts = key == self.order
            found.append(Column(key, key, max(cells, len(key) + sorts), 0 if sorts else i))
        return columns.fitting(found, width - MARK_CELLS)

    def _cell(self, run: Run, key: str) -> str:
        value = self.numbers(run).get(key)
        return "-" if value is None else f"{value:.4g}" if key in OBJECTIVES else f"{value:.3g}"

    def header(self, width: int) -> Text:
        """Headings of the table; an arrow at the one that sorts."""
        arrow = "↓" if self.order == "retention" else "↑"
        words = (f"{c.key}{arrow * (c.key == self.order)}".rjust(c.width) for c in self._columns(width))
        return Text(" " * MARK_CELLS + " ".join(words), no_wrap=True)

    def paint(self, run: Run, width: int) -> Text:
        """A trial of the table; ● on the front."""
        front = run.run_id in {t.key for t in self.query_one(Scatter).front}
        text = Text(" ● " if front else " " * MARK_CELLS, style=self.ink.good, no_wrap=True)
        cells = " ".join(self._cell(run, c.key).rjust(c.width) for c in self._columns(width))
        return text.append(cells, style="default")

    def weigh_once(self, study: Run) -> None:
        """Compute the importance once for each number of trials, when its pane is open."""
        trials = self._trials(study)
        wanted = (study.run_id, len(trials))
        if self.panes.active == "importance-tab" and wanted != self._weighed:
            self._weighed = wanted
            self.query_one("#importance", Static).update("computing…")
            self.weigh(trials)

    @work(thread=True, exclusive=True, group="importance")
    def weigh(self, trials: Sequence[Run]) -> None:
        """Compute the importance in a worker thread."""
        text = Text()
        for name, metric in (("gap", GAP), ("retention", RETENTION)):
            try:
                found = importance.shares([r.given for r in trials], [r.metrics[metric] for r in trials])
            except Exception as error:  # Optuna raises anything: one line in its place
                text.append(f"{name}: {clean(error)}\n\n")
                continue
            text.append(f"{name}\n", style="bold")
            for key, share in found.items():
                text.append(f"{fit(key, 24)} {bar(share, 30)} {share:>4.0%}\n")
            text.append("" if found else "too few trials, or nothing differs\n", style="dim").append("\n")
        self.app.call_later(self.query_one("#importance", Static).update, text)

    def on_tabbed_content_tab_activated(self) -> None:
        """Keys go to the pane that was opened."""
        self.panes.focus_pane()
        if (study := self.snapshot.runs.get(self.study or "")) is not None:
            self.weigh_once(study)

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """The chart's cursor follows that of the table."""
        if self.query_one("#trial-list", RowList).has_focus:
            self.query_one(Scatter).select(event.key)

    def on_row_list_chosen(self) -> None:
        """Go to the trial's version."""
        self.action_version()

    def action_tab(self) -> None:
        """Open the next pane."""
        self.panes.turn()

    def action_order(self, by: int) -> None:
        """Sort the table by another column."""
        if orders := list(self.widths):
            self.order = after(orders, self.order, by)
            self.fill()
            self.query_one("#trial-list", RowList).refresh()

    def action_log_scale(self) -> None:
        """Logarithmic or linear axes."""
        scatter = self.query_one(Scatter)
        scatter.set_log(after(LOGS, scatter.scale))

    def action_back(self) -> None:
        """Remove the filter."""
        self.drop_filter()
        self.panes.focus_pane()

    def on_scatter_moved(self, event: Scatter.Moved) -> None:
        """Describe the trial under the cursor."""
        shown = self.query_one("#trial-list", RowList)
        if not shown.has_focus:
            shown.go_to(event.key)
        self.describe()

    def describe(self) -> None:
        """Describe the trial under the cursor."""
        scatter = self.query_one(Scatter)
        text = Text()
        study = self.snapshot.runs.get(self.study or "")
        if study is not None and study.active:
            text.append_text(activity(self.snapshot, study, self.ink))
            text.append("\n\n")
        run = self.snapshot.runs.get(scatter.selected.key) if scatter.selected else None
        if run is None:
            text.append("no finished trial yet", style="dim")
        else:
            on_front = scatter.selected in scatter.front
            text.append(clean(run.name, 60), style="bold")
            text.append("  ● on the front\n" if on_front else "  behind the front\n")
            versions = self.versions(run)
            words = ", ".join(clean(v.title, 40) for v in versions) or (
                "none registered" if on_front else "none: only trials on the front are registered"
            )
            text.append(f"versions: {words}\n\n")
            shown = {
                k: v
                for k, v in run.metrics.items()
                if k.startswith(("objective.", "forget.", "retain.", "time."))
            }
            text.append_text(facts.pairs({k: number(v) for k, v in shown.items()}, facts.by_importance))
            text.append("\nvalues\n", style="bold")
            numeric = {k: f"{v:.6g}" for k, v in self.numbers(run).items() if k in run.params}
            text.append_text(facts.pairs({**run.given, **numeric}))
        self.query_one("#trial-text", Static).update(text)

    def versions(self, run: Run) -> list[Version]:
        """Generators that a trial made."""
        made = self.snapshot.made_by(run.run_id)
        study, trial = run.tags.get(STUDY), run.tags.get(TRIAL)
        if made or not study or not trial:
            return made
        return [
            v
            for v in self.snapshot.versions.values()
            if v.tags.get(STUDY) == study and v.tags.get(TRIAL) == trial and v.name == names.GENERATORS
        ]

    def _version(self) -> Version | None:
        selected = self.query_one(Scatter).selected
        run = self.snapshot.runs.get(selected.key) if selected is not None else None
        found = self.versions(run) if run is not None else []
        if not found:
            self.say("this trial has no version: only trials on the front are registered")
            return None
        return found[-1]

    def action_version(self) -> None:
        """Go to the trial's version."""
        if (version := self._version()) is not None:
            self.post_message(OpenVersion(version.number))

    def action_promote(self) -> None:
        """Promote the trial's version."""
        if (version := self._version()) is not None:
            self.post_message(Promote(version))

    def action_study(self, by: int) -> None:
        """Show another study."""
        if self.studies:
            self.study = after([r.run_id for r in self.studies], self.study, by)
            self.fill()

    def action_copy(self) -> None:
        """Copy the trial's run id."""
        selected = self.query_one(Scatter).selected
        if selected is not None:
            copy(self, selected.key)

    def action_launch(self) -> None:
        """Open the launch form for a study."""
        self.post_message(OpenLaunch("tune", self.workspace.defaults))
