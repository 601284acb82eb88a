"""Tabs whose panes take the keys when they are opened."""

from __future__ import annotations

from textual.widget import Widget
from textual.widgets import TabbedContent, TabPane

from tui.services.orders import after


class Panes(TabbedContent):
    """Textual's tabs with a key for the next one."""

    @property
    def names(self) -> list[str]:
        """Ids of the panes."""
        return [pane.id or "" for pane in self.query(TabPane)]

    def turn(self, by: int = 1) -> None:
        """Open the next pane, or the one before."""
        self.active = after(self.names, self.active, by)

    def focus_pane(self) -> None:
        """Give the keys to what moves or scrolls in the open pane; without it, to the tabs."""
        pane = self.active_pane
        found: list[Widget] = [w for w in pane.query("*") if w.focusable] if pane is not None else []
        (found or list(self.query("ContentTabs")))[0].focus()
