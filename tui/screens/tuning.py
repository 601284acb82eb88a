"""Studies: their trials as a scatter, and the trial under the cursor in detail."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.messages import OpenLaunch, OpenVersion, Promote
from tui.plain import clean, number
from tui.screens.keys import named
from tui.screens.main import MainScreen
from tui.services.records import STUDY, TRIAL, Run
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.runline import activity
from tui.widgets.scatter import Scatter, Trial
from tui.widgets.status import StatusBar
from tui.widgets.toast import copy

GAP, RETENTION = "objective.gap", "objective.retention"
EMPTY = (
    "No study yet. `l` opens the launch form for the entry point `tune`, which searches for better settings."
)


class TuningScreen(MainScreen):
    """One study at a time."""

    HELP_TEXT = """\
Every point is a trial: its forgetting gap (less is better) against its retention (more is better). Home and End walk
along the Pareto front, arrows go to any trial."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "tuning",
        [
            Binding("l", "launch", "launch"),
            Binding("enter", "version", "version", tooltip="go to the trial's version"),
            Binding("p", "promote", "promote", tooltip="promote the trial's version"),
            Binding("left_square_bracket", "study(-1)", "study before", show=False),
            Binding("right_square_bracket", "study(1)", "next study", key_display="]"),
            Binding("y", "copy", "copy", tooltip="copy the run id of the trial"),
        ],
    )

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.studies: list[Run] = []
        self.study: str | None = None

    def compose(self) -> ComposeResult:
        """Status, scatter beside detail, keys."""
        yield StatusBar(self.workspace)
        with Horizontal(id="tuning-panes"):
            yield Scatter(id="scatter")
            with VerticalScroll(id="trial"):
                yield Static(id="trial-text", markup=False)
        yield Static(id="no-study", markup=False)
        yield Footer(compact=True, show_command_palette=False)

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
            if r.stage == "trial" or r.parent == study.run_id
            if r.parent == study.run_id or (name and r.tags.get(STUDY) == name)
            if GAP in r.metrics and RETENTION in r.metrics
        ]

    def fill(self) -> None:
        """Show the study."""
        scatter = self.query_one(Scatter)
        study = self.snapshot.runs.get(self.study or "")
        trials = self._trials(study) if study is not None else []
        scatter.set_trials([Trial(r.run_id, r.metrics[GAP], r.metrics[RETENTION]) for r in trials])
        if study is not None:
            at = next(i for i, r in enumerate(self.studies) if r.run_id == study.run_id)
            name = clean(study.tags.get(STUDY, "") or study.name, 40)
            scatter.border_title = Text(
                f"{name} · {len(trials)} trials · study {at + 1} of {len(self.studies)}"
            )
        self.describe()

    def on_scatter_moved(self) -> None:
        """Describe the trial under the cursor."""
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
            words = (
                ", ".join(clean(v.title, 40) for v in versions)
                or "none: only trials on the front are registered"
            )
            text.append(f"versions: {words}\n\n")
            shown = {
                k: v
                for k, v in run.metrics.items()
                if k.startswith(("objective.", "forget.", "retain.", "time."))
            }
            text.append_text(facts.pairs({k: number(v) for k, v in shown.items()}))
            text.append("\nvalues\n", style="bold")
            text.append_text(facts.pairs(run.params))
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
        ids = [r.run_id for r in self.studies]
        if self.study in ids:
            self.study = ids[(ids.index(self.study) + by) % len(ids)]
            self.fill()

    def action_copy(self) -> None:
        """Copy the trial's run id."""
        selected = self.query_one(Scatter).selected
        if selected is not None:
            copy(self, selected.key)

    def action_launch(self) -> None:
        """Open the launch form for a study."""
        self.post_message(OpenLaunch("tune", self.workspace.defaults))
