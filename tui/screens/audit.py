"""An audit: the versions that hold a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from sa_mlops.parameters import Parameter, ParameterError
from tui.messages import OpenVersion
from tui.plain import clean, fit
from tui.screens.keys import bind, named
from tui.screens.modal import Modal
from tui.screens.text import TextScreen
from tui.services import columns
from tui.services.columns import Column
from tui.services.launcher import spell, typed
from tui.services.store import Store
from tui.services.workspace import Workspace
from tui.widgets.ink import Ink
from tui.widgets.keys import Keys
from tui.widgets.rows import RowList
from tui.widgets.toast import copy

Document = Mapping[str, Any]
"""The audit as `sa-mlops audit --json` prints it."""
CLASSES = Parameter(help="", kind="classes", default=())
VERSION, TITLE, DATASET, ALIASES = "version", "title", "dataset", "aliases"
WIDEST = {TITLE: 40, DATASET: 16, ALIASES: 30}
"""Most cells of the columns that are as wide as their content."""
LEAST_CLAIM = 20
"""Cells below which the claim has no column."""


class AuditForm(Modal[Document | None]):
    """Asks for classes and reads the store; returns the audit, None if nothing is asked.

    Parameters
    ----------
    classes : first value of the field.
    """

    BINDINGS: ClassVar[list[BindingType]] = named("audit-form", [bind("escape", "dismiss(None)", "close")])

    def __init__(self, store: Store, classes: str) -> None:
        super().__init__()
        self.store = store
        self.first = classes

    def compose(self) -> ComposeResult:
        """The field, and a line for its errors."""
        with Vertical(id="audit-form") as form:
            form.border_title = "Audit: which versions hold a class"
            form.border_subtitle = "enter read   esc close"
            yield Input(self.first, placeholder="names of classes, separated by commas")
            yield Static(id="audit-problem", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Read the audit of the classes."""
        self.query_one("#audit-problem", Static).update("reading…")
        self.load(event.value)

    @work(thread=True, exclusive=True, group="audit")
    def load(self, words: str) -> None:
        """Read the audit in a worker thread."""
        document, problem = None, ""
        try:
            classes: Any = CLASSES.parse("classes", words)
            from sa_mlops.operate import audit

            held = self.store.inventory(audit.TAGS, audit.METRICS)
            document = audit.search(held, classes, None).document
            problem = "" if held.versions else "no version is registered yet"
        except ParameterError as error:
            problem = str(error)
        except Exception as error:  # a store raises anything: one line in its place
            problem = f"the store cannot be read: {error}"
        if not get_current_worker().is_cancelled:
            self.app.call_later(self.loaded, document, problem)

    def loaded(self, document: Document | None, problem: str) -> None:
        """Return the audit, or show why there is none."""
        if problem:
            self.query_one("#audit-problem", Static).update(clean(problem, 600))
        elif self.is_current:
            self.dismiss(document)


class AuditScreen(Modal[None]):
    """The versions that hold the classes of an audit.

    Parameters
    ----------
    document : the audit.
    """

    HELP_TEXT = """\
Each generator that was trained on a class, or descends from one that was. It knows the class, or has forgotten it:
suppressed if its metrics pass the gates of forgetting, unknown if they were not measured. The level tells which attacks
brought the class back. The plan lists what an erasure would make, move, withdraw and keep; it changes nothing. The
command, in a terminal, prints it too, and asks for a reason before it is carried out."""
    BINDINGS: ClassVar[list[BindingType]] = named(
        "audit",
        [
            bind("escape,q", "dismiss(None)", "close"),
            bind("p", "plan", "plan", "the plan of the erasure; it changes nothing"),
            bind("y", "copy", "copy command", "copy the command that erases the classes"),
        ],
    )

    def __init__(self, workspace: Workspace, document: Document) -> None:
        super().__init__()
        self.workspace = workspace
        self.document = document
        self.widths = {
            key: min(most, max([8, *(cell_len(self.cell(v, key)) for v in document["generators"])]))
            for key, most in WIDEST.items()
        }
        self.command = ["sa-mlops", "erase", "--classes", CLASSES.spell(tuple(document["classes"]))]

    def compose(self) -> ComposeResult:
        """The versions, the rest of the audit, the keys."""
        count = len(self.document["generators"])
        lines: RowList[Document] = RowList(lambda v: v["uri"], self.paint, header=self.header, id="audit")
        names = ", ".join(self.document["classes"])
        found = f"{count} generators" if count != 1 else "1 generator"
        lines.border_title = Text(f"audit {clean(names, 60)} · {found if count else 'no generator holds it'}")
        lines.border_subtitle = "enter version   p plan   y copy command   esc close"
        yield lines
        yield Static(id="audit-facts")
        yield Keys()

    def on_mount(self) -> None:
        """Show the versions."""
        self.lines.set_rows(self.document["generators"])
        self.write()

    @property
    def lines(self) -> RowList[Document]:
        """The list."""
        return self.query_one("#audit", RowList)

    def write(self) -> None:
        """Write the text below the list."""
        text, version = Text(), self.lines.selected
        if version is not None:
            text.append(f"v{version['version']} ", "bold")
            if len(version["classes"]) > 1:
                states = ", ".join(f"{name} {state}" for name, state in version["classes"].items())
                text.append(f"{clean(states, 600)}\n")
            text.append(f"level: {clean(version['claim'] or 'not probed', 1000)}\n")
        counts = [
            f"{len(self.document[key])} {word}{'s' if len(self.document[key]) != 1 else ''}"
            for key, word in (("fishers", "Fisher diagonal"), ("judges", "judge"), ("runs", "run"))
        ]
        text.append(f"besides: {', '.join(counts)}\n")
        text.append(clean(spell(self.command), 600), "bold").append("   asks before it is carried out", "dim")
        self.query_one("#audit-facts", Static).update(text)

    def on_row_list_moved(self) -> None:
        """Show the claim of the version under the cursor."""
        self.write()

    def _columns(self, width: int) -> list[Column]:
        classes = self.document["classes"]
        found = [Column(VERSION, VERSION, 7, 0), Column(TITLE, TITLE, self.widths[TITLE], 1)]
        for i, name in enumerate(classes):
            heading = clean(name, 15) if len(classes) > 1 else "status"
            found.append(Column(f"class {name}", heading, 15, 2 + i))
        if len({v[DATASET] for v in self.document["generators"]}) > 1:
            found.append(Column(DATASET, "data set", self.widths[DATASET], 1))
        found.append(Column(ALIASES, ALIASES, self.widths[ALIASES], 2 + len(classes)))
        found = columns.fitting(found, width)
        room = width - sum(c.width + 1 for c in found)
        return [*found, Column("claim", "level", room, 99)] if room >= LEAST_CLAIM else found

    def cell(self, version: Document, key: str) -> str:
        """The text of a version in a column."""
        match key:
            case "version":
                return f"v{version['version']}"
            case "aliases":
                return " ".join(f"@{alias}" for alias in version["aliases"])
            case "title":
                return str(version["title"]).partition(" ")[2]
            case "claim" | "dataset":
                return str(version[key])
        return str(version["classes"].get(key.removeprefix("class "), "-"))

    def header(self, width: int) -> Text:
        """Headings of the columns."""
        return Text(" ".join(fit(c.heading, c.width) for c in self._columns(width)), no_wrap=True)

    def paint(self, version: Document, width: int) -> Text:
        """A version."""
        from sa_mlops.operate import audit

        ink, text = Ink.of(self.app), Text(no_wrap=True)
        styles = {audit.KNOWS: ink.bad, audit.FAILS: ink.bad, audit.UNKNOWN: ink.warn, audit.WITHDRAWN: "dim"}
        for one in self._columns(width):
            words = self.cell(version, one.key)
            style = styles.get(words, "") if one.key.startswith("class ") else ""
            text.append(fit(words, one.width), "bold" if one.key == VERSION else style).append(" ")
        return text

    def on_row_list_chosen(self) -> None:
        """Go to the version."""
        version = self.lines.selected
        if version is not None:
            self.dismiss(None)
            self.app.post_message(OpenVersion(version["version"]))

    @work(thread=True, exclusive=True, group="audit")
    def action_plan(self) -> None:
        """Read the plan of the erasure in a worker thread."""
        try:
            from sa_mlops.operate import audit
            from sa_mlops.operate.plan import Request, plan

            held = self.workspace.store.inventory(audit.TAGS, None)
            found = plan(Request(classes=tuple(self.document["classes"])), held)
            text = f"{found.text()}\n{found.next()}"
        except Exception as error:  # a store raises anything: one line in its place
            text = str(error)
        if not get_current_worker().is_cancelled:
            self.app.call_later(self.show_plan, text)

    def show_plan(self, text: str) -> None:
        """Show the plan, and the command that carries it out."""
        if self.is_current:
            page = Text("\n".join(clean(line, 600) for line in text.splitlines()))
            page.append(
                f"\n\n{typed([*self.command, '--approve', 'REASON'], self.workspace.store.uri)}", "bold"
            )
            self.app.push_screen(TextScreen("plan of the erasure", page))

    def action_copy(self) -> None:
        """Copy the command with its store."""
        copy(self, typed(self.command, self.workspace.store.uri))
