"""Versions side by side: metrics, differences in how they were made, samples at equal latents, every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static, TabPane

from sa_mlops.registry.version import Version
from tui.screens.keys import bind, named
from tui.screens.modal import Modal
from tui.services.workspace import Workspace
from tui.widgets import facts
from tui.widgets.keys import Keys
from tui.widgets.panes import Panes
from tui.widgets.preview import Preview, View


class CompareScreen(Modal[None]):
    """Two or more versions.

    Parameters
    ----------
    view : latents of the samples on the previous screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = named(
        "compare",
        [
            bind("escape,q", "dismiss(None)", "close"),
            bind("s", "turn('seed')", "seed"),
            bind("n", "turn('class')", "class"),
            bind("d", "differing", "differing", "only metrics that differ, or all"),
            bind("t", "tab", "next tab"),
        ],
    )

    AUTO_FOCUS = "#compare-facts VerticalScroll"

    def __init__(self, workspace: Workspace, versions: Sequence[Version], view: View) -> None:
        super().__init__()
        self.workspace = workspace
        self.versions = list(versions)
        self.first_view = view
        self.differing = False

    def compose(self) -> ComposeResult:
        """Three panes."""
        with Panes(id="compare"):
            with TabPane("Differences", id="compare-facts"), VerticalScroll():
                yield Static(id="compare-text")
            with TabPane("Samples", id="compare-samples"):
                yield Preview(self.workspace, id="compare-preview")
            with TabPane("Classes", id="compare-classes"), VerticalScroll():
                yield Static(id="class-text")
        yield Keys()

    def on_mount(self) -> None:
        """Fill the panes."""
        self.query_one(Panes).border_title = Text(
            "compare " + ", ".join(f"v{v.number}" for v in self.versions)
        )
        preview = self.query_one(Preview)
        preview.view = self.first_view
        preview.show(self.versions)

    def on_resize(self, _event: events.Resize) -> None:
        """Columns for the new width."""
        self._write()

    def action_differing(self) -> None:
        """Show only the metrics that differ, or all of them."""
        self.differing = not self.differing
        self._write()

    def _write(self) -> None:
        given = self.workspace.snapshot, self.versions, self.size.width - 4
        self.query_one("#compare-text", Static).update(facts.compared(*given, differing=self.differing))
        self.query_one("#class-text", Static).update(facts.class_matrix(*given))

    def on_tabbed_content_tab_activated(self) -> None:
        """Draw the samples when they are visible; keys scroll the pane that was opened."""
        self.query_one(Preview).redraw()
        self.query_one(Panes).focus_pane()

    def action_turn(self, what: Literal["seed", "class"]) -> None:
        """Show other samples."""
        self.query_one(Preview).turn(what, 1)

    def action_tab(self) -> None:
        """Open the next pane."""
        self.query_one(Panes).turn()
