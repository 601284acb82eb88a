"""The application: registry and runs, and everything that is done from a version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.reactive import var
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane, Tree
from textual.widgets.tree import TreeNode

from tui.screens.confirm import ConfirmScreen
from tui.screens.launch import LaunchScreen
from tui.screens.text import TextScreen
from tui.services import launcher
from tui.services.store import RunRow, Store
from tui.widgets.chart import chart
from tui.widgets.facts import chips, clean, compare_lines, metric_lines, tag_lines
from tui.widgets.picture import digit_grid

if TYPE_CHECKING:
    from sa_mlops.registry.lineage import Entry, Lineage

GENERATORS = "sa-cvae"
REFRESH_SECONDS = 3.0
STATES = {"RUNNING": "◐", "FINISHED": "●", "FAILED": "✗", "KILLED": "■", "SCHEDULED": "○"}
EMPTY = (
    "Nothing here yet.\n\n`l` launches a run: the default trains judges and a base and forgets the 1 (minutes).\n"
    "`d` fills the demo: a small store on scikit-learn's digits (about a minute)."
)
HELP = """\
1 2        registry, runs
enter      open what is selected
/          filter versions: words in titles, tags, aliases (escape clears)
space      mark a version; c compares the marked ones
s  b       samples from new latents; parent and base above them
l          launch a run from the selected version
p          promote the selected version to champion (asks first)
y          copy the selected version's URI
w          write the samples to a PNG
e          the full text of the last error
x          cancel the selected run (asks first)
g          logarithmic charts
r          read the store again
^p         command palette        q   quit
"""


class AmnesiaApp(App[None]):
    """Browse versions and lineage, preview samples, launch and follow runs, promote.

    Parameters
    ----------
    uri : tracking store.
    read_only : no launch, no promotion, no cancelling.
    demo : the store is the built-in demo, which `d` fills.
    """

    TITLE = "sa-mlops"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "tab('registry')", "Registry", show=False),
        Binding("2", "tab('runs')", "Runs", show=False),
        Binding("l", "launch", "launch"),
        Binding("space", "mark", "mark"),
        Binding("c", "compare", "compare"),
        Binding("p", "promote", "promote"),
        Binding("s", "reseed", "reseed"),
        Binding("b", "beside", "beside"),
        Binding("y", "copy", "copy"),
        Binding("w", "write", "PNG", show=False),
        Binding("x", "cancel", "cancel", show=False),
        Binding("g", "log", "log scale", show=False),
        Binding("e", "error", "error", show=False),
        Binding("d", "demo", "demo", show=False),
        Binding("r", "reload", "reload", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    seed: var[int] = var(0)
    show_beside: var[bool] = var(False)
    log_scale: var[bool] = var(False)

    def __init__(
        self, uri: str, *, read_only: bool = False, demo: bool = False, root: Path | None = None
    ) -> None:
        super().__init__()
        self.store = Store(uri)
        self.uri = uri
        self.read_only = read_only
        self.demo = demo
        self.root = root or Path.cwd()
        self.lineage: Lineage | None = None
        self.selected: Entry | None = None
        self.marked: set[int] = set()
        self.runs: list[RunRow] = []
        self.run_row: RunRow | None = None
        self.failure = ""
        self.pattern = ""

    def compose(self) -> ComposeResult:
        """Header line, two tabs, footer."""
        yield Static(Text(f" sa-mlops ─ {clean(self.uri, 60)}"), id="header")
        with TabbedContent(id="tabs"):
            with TabPane("1 Registry", id="registry"), Horizontal():
                yield Tree[Any]("Lineage", id="lineage")
                with TabbedContent(id="detail"):
                    with TabPane("Samples", id="samples"), VerticalScroll():
                        yield Static(id="sample-text")
                    with TabPane("Metrics", id="metrics"), VerticalScroll():
                        yield Static(id="metric-text")
                    with TabPane("Tags", id="tags"), VerticalScroll():
                        yield Static(id="tag-text")
            with TabPane("2 Runs", id="runs"):
                yield DataTable[Any](id="run-table", cursor_type="row")
                with VerticalScroll(id="run-detail"):
                    yield Static(id="run-text")
        yield Input(placeholder="filter", id="filter", classes="hidden")
        yield Footer()

    def on_mount(self) -> None:
        """Read the store, and again every few seconds."""
        table = self.query_one("#run-table", DataTable)
        table.add_columns("", "run", "stage", "done", "p", "H", "retained", "id")
        tree = self.query_one("#lineage", Tree)
        tree.show_root = False
        tree.focus()
        self.read_store()
        self.set_interval(REFRESH_SECONDS, self.read_store)

    # ---------------------------------------------------------------- reading

    @work(thread=True, exclusive=True, group="store")
    def read_store(self) -> None:
        """Read versions and runs in a worker thread."""
        try:
            found, runs = self.store.lineage(), self.store.runs()
        except Exception as error:  # whatever the store raises: stale data stays and is marked
            self.call_from_thread(self._stale, f"{type(error).__name__}: {error}")
            return
        self.call_from_thread(self._show, found, runs)

    def _stale(self, message: str) -> None:
        self.failure = message
        header = Text(f" sa-mlops ─ {clean(self.uri, 50)} ─ ○ stale: {clean(message, 60)}  (e: all)")
        self.query_one("#header", Static).update(header)

    def _show(self, found: Lineage, runs: list[RunRow]) -> None:
        changed = self.lineage is None or [e.document() for e in found.entries] != [
            e.document() for e in self.lineage.entries
        ]
        self.lineage, self.runs = found, runs
        running = sum(r.status == "RUNNING" for r in runs)
        mode = " ─ read-only" if self.read_only else ""
        state = Text(f" sa-mlops ─ {clean(self.uri, 60)} ─ ● live{mode} ─ {running} running")
        self.query_one("#header", Static).update(state)
        if changed:
            self._fill_tree()
        self._fill_runs()

    def _fill_tree(self) -> None:
        assert self.lineage is not None
        tree = self.query_one("#lineage", Tree)
        wanted = self.selected.version.uri if self.selected else None
        tree.clear()
        if not self.lineage.entries:
            self.query_one("#sample-text", Static).update(Text(EMPTY))
            return
        seen: set[int] = set()

        def add(node: TreeNode[Any], entry: Entry) -> None:
            if entry.version.number in seen or self.lineage is None:
                return
            seen.add(entry.version.number)
            children = self.lineage.children(entry.version.number)
            label = self._label(entry)
            if children:
                branch = node.add(label, data=entry, expand=True)
                for child in children:
                    add(branch, child)
            elif self._matches(entry):
                node.add_leaf(label, data=entry)

        for root in self.lineage.roots():
            add(tree.root, root)
        for entry in self.lineage.generators():
            add(tree.root, entry)
        for name, title in (("sa-fim", "Fisher diagonals"), ("sa-judge", "Judges")):
            others = [e for e in self.lineage.others(name) if self._matches(e)]
            if others:
                branch = tree.root.add(title, expand=False)
                for entry in others:
                    branch.add_leaf(self._label(entry), data=entry)
        tree.root.expand()
        self._select(tree, wanted)

    def _select(self, tree: Tree[Any], uri: str | None) -> None:
        nodes = {n.data.version.uri: n for n in _walk(tree.root) if n.data is not None}
        generators = [key for key in nodes if f"/{GENERATORS}/" in key]
        if uri not in nodes:
            uri = next(reversed(generators or list(nodes)), None)
        if uri is not None:
            self.call_after_refresh(tree.move_cursor, nodes[uri])

    def _label(self, entry: Entry) -> Text:
        v, m = entry.version, entry.metrics
        text = Text("✓ " if v.number in self.marked and v.name == GENERATORS else "")
        text.append(f"v{v.number} ", style="bold")
        text.append(clean(v.title.partition(" ")[2], 40) + " ")
        text.append_text(chips(v.forgotten if v.stage == "forget" else ()))
        for alias in v.aliases:
            text.append(f"@{clean(alias, 20)} ", style="bold yellow")
        if "forget.prob" in m:
            text.append(f"p {m['forget.prob']:.3f} ", style="dim")
        if "retain.accuracy" in m:
            text.append(f"r {m['retain.accuracy']:.3f}", style="dim")
        return text

    def _matches(self, entry: Entry) -> bool:
        v = entry.version
        words = " ".join([v.title, *v.aliases, *(f"{k}={t}" for k, t in v.tags.items())]).lower()
        return all(word in words for word in self.pattern.lower().split())

    # ---------------------------------------------------------------- a version

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[Any]) -> None:
        """Show the version under the cursor."""
        if event.node.data is None:
            return
        self.selected = event.node.data
        self._show_version()

    def _show_version(self) -> None:
        entry = self.selected
        if entry is None:
            return
        parent, base = self._entry(entry.version.parent), self._root(entry)
        self.query_one("#metric-text", Static).update(metric_lines(entry, base, parent))
        text = tag_lines(entry.version.tags)
        text.append("\n" + clean(entry.version.description, 2000))
        self.query_one("#tag-text", Static).update(text)
        if entry.version.name == GENERATORS:
            self.draw_samples(entry, self.seed, self.show_beside)
        else:
            self.query_one("#sample-text", Static).update(Text("no samples: this is no generator"))

    def _entry(self, number: int | None) -> Entry | None:
        if self.lineage is None or number is None:
            return None
        return next((e for e in self.lineage.generators() if e.version.number == number), None)

    def _root(self, entry: Entry) -> Entry | None:
        seen: set[int] = set()
        here: Entry | None = entry
        while here is not None and here.version.parent is not None and here.version.number not in seen:
            seen.add(here.version.number)
            here = self._entry(here.version.parent)
        return here

    @work(thread=True, exclusive=True, group="samples")
    def draw_samples(self, entry: Entry, seed: int, beside: bool) -> None:
        """Draw samples in a worker thread; torch is imported there."""
        shown = [entry]
        if beside:
            others = [self._entry(entry.version.parent), self._root(entry)]
            shown += [e for e in others if e is not None and e.version.number != entry.version.number]
        text = Text()
        try:
            for e in {e.version.number: e for e in shown}.values():
                images = self.store.samples(e, seed, 2)
                gone = e.version.forgotten
                headings = tuple(f"({d})" if d in gone else str(d) for d in range(10))
                text.append(f"{clean(e.version.title, 60)}   seed {seed}, (forgotten)\n", style="bold")
                text.append_text(digit_grid(images[:, :5], headings[:5]))
                text.append_text(digit_grid(images[:, 5:], headings[5:]))
        except Exception as error:  # files gone, foreign model: one line where the pictures would be
            text = Text(f"no samples: {clean(str(error))}")
        self.call_from_thread(self._drawn, entry, text)

    def _drawn(self, entry: Entry, text: Text) -> None:
        if self.selected is not None and self.selected.version.uri == entry.version.uri:
            self.query_one("#sample-text", Static).update(text)

    # ---------------------------------------------------------------- runs

    def _fill_runs(self) -> None:
        table = self.query_one("#run-table", DataTable)
        row = table.cursor_row
        table.clear()
        for run in self.runs:
            done = "" if run.progress is None else f"{run.progress:.0%}"
            cells = [
                f"{run.metrics[k]:.3f}" if k in run.metrics else ""
                for k in ("forget.prob", "forget.entropy", "retain.accuracy")
            ]
            name = ("  " if run.parent else "") + clean(run.name, 40)
            table.add_row(
                Text(STATES.get(run.status, "?")), Text(name), Text(clean(run.stage, 16)), Text(done),
                *map(Text, cells), Text(run.run_id[:8]), key=run.run_id,
            )  # fmt: skip
        if self.runs:
            table.move_cursor(row=min(row, len(self.runs) - 1))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Follow the run under the cursor."""
        found = [r for r in self.runs if r.run_id == event.row_key.value]
        if found:
            self.run_row = found[0]
            self.follow(found[0], self.log_scale)

    @work(thread=True, exclusive=True, group="follow")
    def follow(self, run: RunRow, log: bool) -> None:
        """Charts, error and log of a run, read in a worker thread."""
        text = Text()
        if run.error:
            text.append(f"✗ {clean(run.error)}\n\n", style="bold red")
        terms = sorted(k for k in run.metrics if k.startswith("train."))[:4]
        try:
            for term in terms:
                points = self.store.history(run.run_id, term)
                text.append_text(chart([(term, points)], 60, 6, log=log))
                text.append("\n")
        except Exception as error:  # the store may vanish between two reads
            text.append(clean(str(error)))
        for launch in launcher.launches(self.root)[:1]:
            text.append(f"\nnewest launch: {clean(launcher.spell(list(launch.command)))}\n", style="bold")
            text.append("\n".join(clean(line, 300) for line in launch.tail(40).splitlines()))
        self.call_from_thread(self.query_one("#run-text", Static).update, text)

    # ---------------------------------------------------------------- actions

    def action_tab(self, name: str) -> None:
        """Jump to a tab."""
        self.query_one("#tabs", TabbedContent).active = name
        target = "#lineage" if name == "registry" else "#run-table"
        self.query_one(target).focus()

    def action_reload(self) -> None:
        """Read the store again."""
        self.read_store()

    def action_reseed(self) -> None:
        """Draw from new latents."""
        self.seed += 1
        self._show_version()

    def action_beside(self) -> None:
        """Show parent and base under the samples, or not."""
        self.show_beside = not self.show_beside
        self._show_version()

    def action_log(self) -> None:
        """Logarithmic charts, or not."""
        self.log_scale = not self.log_scale
        if self.run_row is not None:
            self.follow(self.run_row, self.log_scale)

    def action_mark(self) -> None:
        """Mark or unmark the selected generator."""
        if self.selected is not None and self.selected.version.name == GENERATORS:
            self.marked ^= {self.selected.version.number}
            self._fill_tree()

    def action_compare(self) -> None:
        """Show the marked versions side by side."""
        entries = [e for n in sorted(self.marked) if (e := self._entry(n)) is not None]
        if len(entries) < 2:
            self.notify("mark two or more versions with space first")
            return
        self.push_screen(TextScreen("compare", compare_lines(entries)))

    def action_copy(self) -> None:
        """Copy the selected version's URI."""
        if self.selected is not None:
            self.copy_to_clipboard(self.selected.version.uri)
            self.notify(f"{self.selected.version.uri} copied")

    def action_write(self) -> None:
        """Write the selected version's samples to a PNG."""
        if self.selected is not None and self.selected.version.name == GENERATORS:
            number = str(self.selected.version.number)
            out = f"samples-v{number}-seed{self.seed}.png"
            self.in_background(
                ["sample", number, "--seed", str(self.seed), "--out", out], f"written to {out}"
            )

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(TextScreen("help", Text(HELP)))

    def action_error(self) -> None:
        """Show the last error in full."""
        text = self.failure or (self.run_row.error if self.run_row else "")
        self.push_screen(TextScreen("error", Text(text or "no error")))

    def action_filter(self) -> None:
        """Ask for a filter."""
        field = self.query_one("#filter", Input)
        field.remove_class("hidden")
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Filter the tree."""
        if event.input.id == "filter":
            self.pattern = event.value
            event.input.add_class("hidden")
            self.query_one("#lineage").focus()
            self._fill_tree()

    def _allowed(self) -> bool:
        if self.read_only:
            self.notify("read-only: leave --read-only out to change things", severity="warning")
        return not self.read_only

    def action_launch(self) -> None:
        """Open the launch form."""
        if not self._allowed():
            return
        given = {}
        if self.selected is not None and self.selected.version.name == GENERATORS:
            given = {
                "from_version": str(self.selected.version.number),
                "version": str(self.selected.version.number),
            }
            given |= {"dataset": self.selected.version.tags.get("sa.dataset", "mnist")}
        self.push_screen(LaunchScreen("forget", given), self._launched)

    def _launched(self, command: list[str] | None) -> None:
        if command:
            launch = launcher.start(command, self.root, self.uri)
            self.notify(f"started, process {launch.pid}")
            self.action_tab("runs")

    def action_cancel(self) -> None:
        """Cancel the newest launch that still runs."""
        alive = [launch for launch in launcher.launches(self.root) if launch.alive()]
        if alive and self._allowed():
            question = f"Cancel {launcher.spell(list(alive[0].command))}?"
            self.push_screen(ConfirmScreen(question), lambda yes: launcher.cancel(alive[0]) if yes else None)

    def action_promote(self) -> None:
        """Promote the selected version, after a question."""
        if self.selected is None or self.selected.version.name != GENERATORS or not self._allowed():
            return
        number = str(self.selected.version.number)
        question = f"Make {self.selected.version.title} the champion, if it passes every gate?"

        def answered(yes: bool | None) -> None:
            if yes:
                self.in_background([["promote", number]], "promoted")

        self.push_screen(ConfirmScreen(question), answered)

    def action_demo(self) -> None:
        """Fill the demo's store."""
        if self.demo and self.lineage is not None and not self.lineage.entries:
            from tui.services.demo import STEPS

            self.notify("making the demo: about a minute")
            self.in_background(STEPS, "the demo is ready")

    @work(thread=True, group="commands")
    def in_background(self, commands: Sequence[Sequence[str]], done: str) -> None:
        """Run `sa-mlops` commands one after another in processes of their own, and say how it went."""
        for words in commands:
            result = subprocess.run(
                [sys.executable, "-m", "sa_mlops", *words],
                cwd=self.root, env=os.environ | {"MLFLOW_TRACKING_URI": self.uri},
                capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if result.returncode != 0:
                lines = (result.stdout.strip() or result.stderr.strip()).splitlines() or ["failed"]
                self.failure = result.stdout + result.stderr
                self.call_from_thread(self.notify, clean(lines[-1]), severity="error", markup=False)
                break
            self.call_from_thread(self.read_store)
        else:
            self.call_from_thread(self.notify, done)
        self.call_from_thread(self.read_store)


def _walk(node: TreeNode[Any]) -> list[TreeNode[Any]]:
    return [node, *(found for child in node.children for found in _walk(child))]
