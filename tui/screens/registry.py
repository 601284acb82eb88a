"""The registry: the lineage beside the selected version."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, Static, TabbedContent, TabPane
from textual.worker import get_current_worker

from sa_mlops.config import ENTRY_POINTS
from sa_mlops.registry import names
from sa_mlops.registry.version import SHOWN, Version
from tui.messages import Annotate, Delete, OpenLaunch, OpenRun, Promote
from tui.plain import clean, joined, whole
from tui.screens.audit import AuditForm, AuditScreen, Document
from tui.screens.compare import CompareScreen
from tui.screens.image import ImageScreen
from tui.screens.keys import bind, hidden, named
from tui.screens.main import MainScreen
from tui.screens.metric import MetricScreen
from tui.services import demo, export, pages
from tui.services.filters import HELP as FILTER_HELP
from tui.services.filters import Filter
from tui.services.orders import after
from tui.services.records import Snapshot
from tui.services.store import picture_name
from tui.services.tree import JUDGES_HEADING, ORDERS, Row, rows
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.keys import Keys
from tui.widgets.panes import Panes
from tui.widgets.preview import Preview
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList
from tui.widgets.runline import activity
from tui.widgets.status import StatusBar
from tui.widgets.toast import copy, copy_page

EMPTY = """

l   launch: the default trains judges and a base and forgets a class (minutes)
d   open the demo: a small store on scikit-learn's digits (about a minute)
?   all keys
"""
NOTE_LENGTH = 1000
MANY = 500
"""The rows of more versions are computed in a worker thread."""


class RegistryScreen(MainScreen):
    """Lineage, detail of the selected version, active runs."""

    HELP_TEXT = f"""\
The tree shows each version under its parent; struck-out classes in parentheses are forgotten, @names are aliases,
◐ is a run that makes a version. Filter words: {FILTER_HELP}."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "registry",
        [
            bind("l", "launch", "launch"),
            bind("space", "mark", "mark"),
            bind("c", "compare", "compare", "the marked versions, or the selected one and its parent"),
            bind("p", "promote", "promote"),
            bind("slash", "ask", "filter"),
            bind("v", "ask('go')", "go to", "jump to a version by its number"),
            bind("u", "parent", "parent", "go up to the version that this one was made from"),
            bind("m", "metric", "metric", "one metric over the versions of the lineage"),
            bind("o", "order", "sort", f"sort: {', '.join(ORDERS)}"),
            bind("s", "turn('seed', 1)", "seed", "samples from other latents"),
            hidden("S", "turn('seed', -1)", "earlier seed"),
            bind("b", "beside", "beside", "samples of parent and base below"),
            bind("n", "turn('class', 1)", "class", "samples of all classes, or of one class alone"),
            hidden("N", "turn('class', -1)", "previous class"),
            bind("a", "audit", "audit", "the versions that hold a class"),
            hidden("full_stop", "turn('axis', 1)", "next axis", "latent axis of the morph slider"),
            hidden("comma", "turn('axis', -1)", "previous axis"),
            hidden("plus,equals_sign", "turn('value', 1)", "along the axis"),
            hidden("minus", "turn('value', -1)", "back along the axis"),
            hidden("i", "ask('note')", "note", "write a note on the version"),
            hidden("E", "export", "export", "write the list to versions.csv and versions.json"),
            hidden("w", "write", "PNG", "write the samples to a PNG file"),
            hidden("t", "tab(1)", "next tab"),
            hidden("T", "tab(-1)", "previous tab"),
            hidden("left", "fold(True)", "fold"),
            hidden("right", "fold(False)", "unfold"),
            hidden("y", "copy('uri')", "copy", "copy the version's URI"),
            hidden("Y", "copy('page')", "copy address", "copy the address of its MLflow page"),
            hidden("D", "delete", "delete", "delete a version without descendants"),
            hidden("escape", "back", "back"),
        ],
    )

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.order = "lineage"
        self.folded: set[str] = {JUDGES_HEADING}
        self.prompt_for = "filter"
        self._sought: str | None = None

    # ------------------------------------------------------------------ layout

    def compose(self) -> ComposeResult:
        """Status, lineage beside detail, active runs, keys."""
        yield StatusBar(self.workspace)
        with Horizontal(id="registry-panes"):
            tree: RowList[Row] = RowList(lambda row: row.key, self.paint, id="lineage")
            tree.border_title = "Lineage"
            yield tree
            with Panes(id="detail", initial="samples"):
                with TabPane("Samples", id="samples"):
                    yield Preview(self.workspace, id="preview")
                with TabPane("Metrics", id="metrics"), VerticalScroll():
                    yield Static(id="metric-text")
                with TabPane("About", id="about"), VerticalScroll():
                    yield Static(id="about-text")
                with TabPane("Params", id="params"), VerticalScroll():
                    yield Static(id="param-text")
                with TabPane("History", id="history"), VerticalScroll():
                    yield Static(id="history-text")
                with TabPane("Images", id="images"):
                    yield RowList[str](str, _paint_path, id="image-list")
        yield Static(id="empty", markup=False)
        yield Static(id="now")
        yield Prompt()
        yield Keys()

    def prepare(self) -> None:
        """Restore the user's choices."""
        layout = self.workspace.layout
        self.order = layout.order if layout.order in ORDERS else "lineage"
        self.detail.active = layout.tab if layout.tab in self.detail.names else "samples"
        self.lineage.focus()

    @property
    def lineage(self) -> RowList[Row]:
        """The lineage."""
        return self.query_one("#lineage", RowList)

    @property
    def detail(self) -> Panes:
        """The panes of the selected version."""
        return self.query_one(Panes)

    @property
    def preview(self) -> Preview:
        """The samples."""
        return self.query_one(Preview)

    @property
    def version(self) -> Version | None:
        """The selected version."""
        row = self.lineage.selected
        return None if row is None else row.version

    def chosen_generator(self) -> Version | None:
        """The selected version if it is a generator; else None and a toast."""
        version = self.version
        if version is None or version.name != names.GENERATORS:
            self.say("select a generator first")
            return None
        return version

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show the last reading."""
        self.fill()
        w = self.workspace
        unread = bool(w.stale) and not self.snapshot.complete
        empty = not self.snapshot.versions and (unread or (self.snapshot.complete and not w.loading))
        self.set_class(empty, "-empty")
        if empty:
            text = f"{w.store.database} does not exist." if w.store.missing else "The store is empty."
            text = demo.MAKING if w.filling else text + EMPTY * (not w.read_only)
            self.query_one("#empty", Static).update(self.explained(text))
        active = [r for r in self.snapshot.runs.values() if r.active and r.parent not in self.snapshot.runs]
        active.sort(key=lambda r: -r.started)
        lines = [activity(self.snapshot, run, self.ink) for run in active[:3]]
        now = self.query_one("#now", Static)
        now.set_class(bool(lines), "-on")
        for line in lines:
            line.no_wrap = True
            line.overflow = "ellipsis"
        now.update(Text("\n").join(lines))

    def fill(self, select: str | None = None) -> None:
        """Compute the rows; those of a large registry in a worker thread."""
        wanted = (self.snapshot, self.order, self.filter, frozenset(self.folded))
        if len(self.snapshot.versions) > MANY:
            self.lay_out(wanted, select)
        else:
            self._fill(rows(*wanted), select)

    @work(thread=True, exclusive=True, group="rows")
    def lay_out(self, wanted: tuple[Snapshot, str, Filter, frozenset[str]], select: str | None) -> None:
        """Compute the rows in a worker thread."""
        worker = get_current_worker()
        found = rows(*wanted)
        if not worker.is_cancelled:
            self.call_later(self._fill, found, select)

    def _fill(self, found: list[Row], select: str | None) -> None:
        tree = self.lineage
        wanted = select
        if wanted is None and self._sought is None and not tree.rows and found:
            # At first: the newest generator.
            numbers = [r.version.number for r in found if r.version and r.version.name == names.GENERATORS]
            wanted = names.version_uri(names.GENERATORS, max(numbers)) if numbers else None
        tree.hint = self.hint
        tree.set_rows(found, wanted or self._sought)
        count = sum(1 for row in found if row.version is not None and not row.dim)
        words = [f"{count} versions" if count != 1 else "1 version"]
        words += [f"by {self.order}"] if self.order != "lineage" else []
        words += [f"/{clean(self.filter.text, 30)}"] if self.filter else []
        words += ["reading…"] if not self.snapshot.complete else []
        tree.border_title = Text(" · ".join(["Lineage", *words]))
        self.show_version()

    def paint(self, row: Row, width: int) -> Text:
        """A line of the lineage."""
        ink = self.ink
        text = Text(no_wrap=True, style="dim" if row.dim else "")
        text.append(row.guide, style=ink.faint)
        text.append(("▸ " if row.closed else "▾ ") if row.branches else "  ", style=ink.faint)
        if row.heading:
            text.append(row.heading, style="bold")
        elif row.run is not None:
            share = row.run.share
            text.append("◐ ", style=ink.accent)
            text.append(clean(row.run.name, 40))
            text.append(f"  {share:.0%}" if share is not None else "  …", style="dim")
        elif row.version is not None:
            self._paint_version(text, row.version, width)
        return text

    def _paint_version(self, text: Text, v: Version, width: int) -> None:
        ink = self.ink
        if v.uri in self.workspace.marked:
            text.append("✓ ", style=f"bold {ink.warn}")
        text.append(
            f"{'f' if v.name == names.FISHERS else 'j' if v.name == names.JUDGES else 'v'}{v.number} ", "bold"
        )
        words = v.title.partition(" ")[2]
        lead = {"forget": "forget ", "retrain": "retrained without "}.get(v.stage, "")
        if lead:
            text.append(lead)
            for name in v.forgotten:
                text.append(f"({clean(name, 16)})", style="strike")
                text.append(" ")
            words = words.removeprefix(lead + names.spell_classes(v.forgotten)).strip().removeprefix("by ")
        text.append(f"{clean(words, 40)} " if words else "")
        metrics = self.snapshot.metrics_of(v)
        fields = [
            f"{label} {spelling.format(metrics[key])}"
            for label, key, spelling in SHOWN.get(v.stage, ())
            if key in metrics
        ]
        # The first metric has its room before the aliases, which a narrow row shortens.
        aliases = [f"@{clean(alias, 20)}" for alias in self.snapshot.aliases_of(v)]
        room = width - text.cell_len - (cell_len(fields[0]) + 1 if fields else 0)
        words = joined(aliases, room - 1, " ") or (
            clean(aliases[0], room - 1) if aliases and room > 4 else ""
        )
        text.append(f"{words} " if words else "", style=f"bold {ink.warn}")
        # From the right, so that the first metrics of all rows stand below each other however many fit.
        room = width - text.cell_len
        counts = range(len(fields), 0, -1)
        ways = ("  ".join(reversed(fields[:count])) for count in counts)
        right = next((way for way in ways if cell_len(way) <= room), "")
        if right:
            text.append(" " * (width - text.cell_len - cell_len(right)) + right, style="dim")

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """Show the version under the cursor."""
        if event.sender.id == "lineage":
            self._sought = event.key
            self.show_version()

    def show_version(self) -> None:
        """Fill the pane that is open; the others wait until they are."""
        version, detail = self.version, self.detail
        if version is None:
            row = self.lineage.selected
            detail.border_title = Text(row.heading if row is not None else "")
            self.preview.show([])
            for pane in ("metric", "about", "param", "history"):
                self.query_one(f"#{pane}-text", Static).update("")
            self.query_one("#image-list", RowList).set_rows([])
            return
        badges = "".join(f" @{clean(a, 20)}" for a in self.snapshot.aliases_of(version))
        detail.border_title = Text(f"{version.name} {clean(version.title, 60)}{badges}")
        match detail.active:
            case "samples":
                self.preview.show(self._sampled(version), "no samples: this is no generator")
            case "metrics":
                base, parent = self.snapshot.root_of(version), self.snapshot.parent_of(version)
                above = {"vs parent": parent if parent != base else None, "vs base": base}
                before = {k: self.snapshot.before(version, v) for k, v in above.items() if v is not None}
                metrics = self.snapshot.metrics_of(version)
                width = detail.size.width - 6
                lines = facts.metric_lines(metrics, before, self.ink, version.forgotten, width)
                evidence = facts.evidence(metrics, version.claim)
                text = Group(evidence, lines) if evidence else lines
                self.query_one("#metric-text", Static).update(text)
            case "about":
                url = pages.page_url(self.workspace.store.uri, version=version)
                self.query_one("#about-text", Static).update(
                    facts.about(self.snapshot, version, url, self.ink)
                )
            case "params":
                run = self.snapshot.runs.get(version.run_id)
                text = (
                    facts.pairs(run.params)
                    if run and run.params
                    else Text("its run has no parameters", "dim")
                )
                self.query_one("#param-text", Static).update(text)
            case "history":
                self.read_history(version)
            case "images":
                self.read_images(version)

    def _sampled(self, version: Version) -> list[Version]:
        if version.name != names.GENERATORS:
            return []
        shown = [version]
        if self.workspace.layout.beside:
            others = [self.snapshot.parent_of(version), self.snapshot.root_of(version)]
            shown += [
                v for i, v in enumerate(others) if v is not None and v not in others[:i] and v != version
            ]
        return shown

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """Fill the pane that was opened."""
        self.workspace.layout.tab = event.pane.id or "samples"
        self.preview.redraw()
        self.show_version()

    @work(thread=True, exclusive=True, group="history")
    def read_history(self, version: Version) -> None:
        """Read the changes of aliases."""
        try:
            events = self.workspace.store.alias_events(version.name)
            text = facts.history(events, self.snapshot.aliases.get(version.name, {}), version)
        except Exception as error:  # no store: one line in its place
            text = Text(f"cannot be read: {clean(error)}")
        self.call_later(self.query_one("#history-text", Static).update, text)

    @work(thread=True, exclusive=True, group="images")
    def read_images(self, version: Version) -> None:
        """List the pictures of its run."""
        try:
            run = self.snapshot.runs.get(version.run_id)
            found = self.workspace.store.images(run) if run is not None else []
        except Exception:  # no artifacts, no store: nothing to show
            found = []
        self.call_later(self._images, version, found)

    def _images(self, version: Version, found: list[str]) -> None:
        if self.version is not None and self.version.uri == version.uri:
            self.query_one("#image-list", RowList).set_rows(found)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Enter: the detail of a version, or a picture."""
        if event.sender.id == "image-list":
            version = self.version
            run = self.snapshot.runs.get(version.run_id) if version is not None else None
            if run is not None:
                shown = self.query_one("#image-list", RowList)
                fetch = partial(self.workspace.store.download, run)
                self.app.push_screen(ImageScreen(shown.rows, shown.cursor, fetch, self.workspace.graphics))
            return
        row = self.lineage.selected
        if row is not None and row.run is not None:
            self.post_message(OpenRun(row.run.run_id))
        elif row is not None and row.heading:
            self.action_fold(row.key not in self.folded)
        elif self.narrow:
            self.open_detail()
        else:
            self.query_one("#detail Tabs").focus()

    def open_detail(self) -> None:
        """Show the detail alone, on a narrow terminal; keys scroll its pane."""
        self.add_class("-detail")
        self.detail.border_subtitle = "esc back"
        self.call_after_refresh(self.detail.focus_pane)
        self.preview.redraw()

    # ------------------------------------------------------------------ keys

    def action_back(self) -> None:
        """Close the detail, else remove the filter, else the marks."""
        if self.has_class("-detail"):
            self.remove_class("-detail")
            self.detail.border_subtitle = ""
            self.lineage.focus()
        elif self.focused is not self.lineage:
            self.lineage.focus()
        elif not self.drop_filter() and self.workspace.marked:
            self.workspace.marked.clear()
            self.lineage.refresh()

    def action_ask(self, what: str = "filter") -> None:
        """Open the line for a filter, a version number or a note."""
        version = self.version
        if what == "note" and (version is None or self.workspace.read_only):
            self.say("read-only: nothing is written" if version else "select a version first", True)
            return
        note = version.tags.get(names.NOTE, "") if version is not None else ""
        self.prompt_for = what
        value, placeholder = {
            "filter": (self.filter.text, FILTER_HELP),
            "go": ("", "version number, or an alias"),
            "note": (note, "a note on this version; empty removes it"),
        }[what]
        self.query_one(Prompt).open(value, placeholder)

    def typed(self, words: str) -> None:
        """Filter while typing; a number and a note wait for Enter."""
        if self.prompt_for == "filter":
            super().typed(words)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Jump to the typed version, or write the note."""
        if self.prompt_for == "go":
            self.go_to(event.value)
        elif self.prompt_for == "note" and self.version is not None:
            self.post_message(Annotate(self.version, event.value.strip()[:NOTE_LENGTH]))

    def go_to(self, word: str) -> None:
        """Select a generator by number or alias."""
        word = word.strip().removeprefix("v").removeprefix("@")
        numbers = self.snapshot.aliases.get(names.GENERATORS, {})
        target = numbers.get(word) or whole(word)
        uri = names.version_uri(names.GENERATORS, target)
        if self.snapshot.generator(target) is None:
            self.say(f"there is no version {clean(word, 30)}", True)
            return
        if not self.lineage.go_to(uri):
            self.filter, self.folded = Filter(), {JUDGES_HEADING}
            self.fill(select=uri)

    def action_parent(self) -> None:
        """Select the version that the selected one was made from."""
        version = self.version
        if version is None:
            return
        above = self.snapshot.parent_of(version)
        if above is None:
            self.say(f"{clean(version.title, 60)} was made from no other version")
        else:
            self.go_to(str(above.number))

    def action_order(self) -> None:
        """Sort by the next order."""
        self.order = self.workspace.layout.order = after(list(ORDERS), self.order)
        self.fill()

    def action_fold(self, closed: bool) -> None:
        """Fold or unfold the rows below the selected one."""
        row = self.lineage.selected
        if row is None or self.order != "lineage":
            return
        if row.branches and closed != row.closed:
            self.folded ^= {row.key}
            self.fill()

    def action_tab(self, by: int) -> None:
        """Open the next pane of the detail."""
        self.detail.turn(by)
        if self.narrow:
            self.open_detail()

    def action_mark(self) -> None:
        """Mark or unmark the selected generator."""
        if (version := self.chosen_generator()) is not None:
            self.workspace.marked ^= {version.uri}
            self.lineage.action_step(1)
            self.lineage.refresh()

    def action_metric(self) -> None:
        """Show one metric over the versions."""
        self.app.push_screen(MetricScreen(self.workspace, self.version))

    def action_audit(self) -> None:
        """Ask for classes, and list the versions that hold them."""
        classes = names.spell_classes(self.snapshot.last_forgotten(self.version)) if self.version else ""

        def show(found: Document | None) -> None:
            if found is not None:
                self.app.push_screen(AuditScreen(self.workspace, found))

        self.app.push_screen(AuditForm(self.workspace.store, classes), show)

    def action_export(self) -> None:
        """Write the listed versions as CSV and JSON into the working folder."""
        listed = [row.version for row in self.lineage.rows if row.version is not None and not row.dim]
        records = export.of_versions(self.snapshot, listed)
        self.say(*export.written(records, Path.cwd() / "versions", self.workspace.read_only))

    def action_compare(self) -> None:
        """Show the marked versions side by side; a single one beside the selected version, that beside its parent."""
        version, wanted = self.version, set(self.workspace.marked)
        if version is not None and len(wanted) < 2:
            parent = self.snapshot.parent_of(version)
            wanted |= {version.uri, *([parent.uri] if parent is not None and not wanted else [])}
        found = (v for v in self.snapshot.versions.values() if v.uri in wanted and v.name == names.GENERATORS)
        chosen = sorted(found, key=lambda v: v.number)
        if len(chosen) < 2:
            self.say("mark two or more versions with space first")
            return
        self.app.push_screen(CompareScreen(self.workspace, chosen, self.preview.view))

    def action_turn(self, what: Literal["seed", "class", "axis", "value"], by: int) -> None:
        """Show other samples."""
        self.preview.turn(what, by)

    def action_beside(self) -> None:
        """Show or hide parent and base below the samples."""
        self.workspace.layout.beside = not self.workspace.layout.beside
        self.show_version()

    def action_write(self) -> None:
        """Write the samples to a PNG in the working folder."""
        if self.workspace.read_only:
            self.say("read-only: nothing is written", True)
            return
        if (version := self.chosen_generator()) is not None:
            self.preview.show(self._sampled(version))
            self.preview.save(Path.cwd() / f"samples-v{version.number}-seed{self.preview.view.seed}.png")

    def action_copy(self, what: str) -> None:
        """Copy the version's URI or the address of its page."""
        if (version := self.version) is not None:
            if what == "uri":
                copy(self, version.uri)
            else:
                copy_page(self, self.workspace.store, version=version)

    def action_launch(self) -> None:
        """Open the launch form for the selected version."""
        version = self.version
        given = dict(self.workspace.defaults)
        if version is not None and version.name == names.GENERATORS and version.stage != "retrain":
            given |= {"from_version": str(version.number), "version": str(version.number)}
            given["dataset"] = version.tags.get(names.DATASET, "mnist")
            retained = [name for name in version.classes if name not in version.forgotten]
            usual = ENTRY_POINTS["forget"].config.parameters().get("classes")
            if usual is None or usual.spell(usual.default) not in retained:
                given["classes"] = retained[0] if retained else ""
        self.post_message(OpenLaunch("forget", given))

    def action_promote(self) -> None:
        """Promote the selected version, after a question."""
        if (version := self.chosen_generator()) is not None:
            self.post_message(Promote(version))

    def action_delete(self) -> None:
        """Delete the selected version, after a question."""
        if self.version is not None:
            self.post_message(Delete(self.version))


def _paint_path(path: str, width: int) -> Text:
    return Text(clean(picture_name(path), width))
