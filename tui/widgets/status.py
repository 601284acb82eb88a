"""The line at the top: store, whether it answers, runs, devices."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.widget import Widget

from tui.plain import clean
from tui.services.workspace import Workspace

SCREENS = (("registry", "1 Registry"), ("runs", "2 Runs"), ("tuning", "3 Tuning"))
"""The main screens by their mode, with their keys."""


class StatusBar(Widget):
    """The main screens and the status of a workspace in one line; a narrow line drops the devices and the store."""

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; color: $foreground; }"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace

    def render(self) -> Text:
        """The line."""
        w = self.workspace
        live = f"○ stale: {clean(w.stale, 60)} (e)" if w.stale else "◌ reading" if w.loading else "● live"
        words = [live]
        if w.read_only:
            words.append("read-only")
        if w.running or w.queued:
            words.append(f"{w.running} running" + (f", {w.queued} queued" if w.queued else ""))
        store = "demo" if w.demo else clean(w.store.uri, 60)
        tabs = Text(" ", no_wrap=True, overflow="ellipsis")
        for mode, word in SCREENS:
            tabs.append(f" {word} ", "reverse bold" if mode == self.app.current_mode else "")
        short = ["○ stale (e)" if w.stale else live, *words[1:]]
        ways = (" ─ ".join(["", *way]) for way in ([store, *words], words, short))
        left = next((way for way in ways if tabs.cell_len + cell_len(way) <= self.size.width), "")
        text = tabs.append(left or f" ─ {short[0]}")
        shown = [d.line() for d in w.devices]
        while shown and text.cell_len + 3 + cell_len("  ".join(shown)) + 1 > self.size.width:
            shown.pop()
        right = "  ".join(shown)
        if right:
            text.append(" " * (self.size.width - text.cell_len - cell_len(right) - 1) + right)
        return text
