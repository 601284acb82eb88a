"""The line at the top: which store, whether it answers, what runs, which devices."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from tui.plain import clean
from tui.services.devices import Device


@dataclass(frozen=True, slots=True)
class State:
    """What the line tells.

    Attributes
    ----------
    stale : why the data on the screen is old; empty while the store answers.
    """

    uri: str = ""
    stale: str = ""
    loading: bool = True
    read_only: bool = False
    demo: bool = False
    running: int = 0
    queued: int = 0
    devices: tuple[Device, ...] = ()


class StatusBar(Widget):
    """Shows a `State` in one line; what matters least is left out first."""

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; color: $foreground; }"

    state: reactive[State] = reactive(State())

    def render(self) -> Text:
        """The line."""
        s = self.state
        live = f"○ stale: {clean(s.stale, 60)} (e)" if s.stale else "◌ reading" if s.loading else "● live"
        words = [" sa-mlops", live]
        if s.read_only:
            words.append("read-only")
        if s.running or s.queued:
            words.append(f"{s.running} running" + (f", {s.queued} queued" if s.queued else ""))
        store = "demo" if s.demo else clean(s.uri, 60)
        left = " ─ ".join([words[0], store, *words[1:]])
        if cell_len(left) > self.size.width:
            left = " ─ ".join([words[0], *words[1:]])
        text = Text(left, no_wrap=True, overflow="ellipsis")
        shown = [d.line() for d in s.devices]
        while shown and cell_len(left) + 3 + cell_len("  ".join(shown)) + 1 > self.size.width:
            shown.pop()
        right = "  ".join(shown)
        if right:
            text.append(" " * (self.size.width - cell_len(left) - cell_len(right) - 1) + right, style="dim")
        return text
