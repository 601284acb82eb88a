"""Trials of a study as a scatter with a cursor: gap to the right, retention upwards, the front joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from tui.widgets.ink import Ink

MARGIN = 9
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}


Log = Literal["", "gap", "both"]
"""Axes with a logarithmic scale; that of retention is one of its distance from 1."""
LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Trial:
    """One point: the forgetting gap (less is better) and retention (more is better).

    Attributes
    ----------
    drop : largest loss of accuracy of a retained class; beyond the study's constraint the trial is on no front.
    """

    key: str
    gap: float
    retention: float
    drop: float = 0.0


class Scatter(Widget, can_focus=True):
    """Points under a cursor; arrows go to the nearest point in their direction."""

    DEFAULT_CSS = "Scatter { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"walk('{key}')", key, show=False) for key in DIRECTIONS),
        Binding("home", "front(-1)", "earlier on the front", show=False),
        Binding("end", "front(1)", "later on the front", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another trial."""

        key: str

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.trials: list[Trial] = []
        self.front: list[Trial] = []
        self.selected: Trial | None = None
        self.scale: Log = ""
        self.hint = ""
        """A line in the place of the points where there are none."""

    def set_trials(self, trials: Sequence[Trial]) -> None:
        """Show these trials; the cursor stays on its trial, or starts on the front."""
        key = self.selected.key if self.selected is not None else None
        self.trials = list(trials)
        self.front = _front(self.trials)
        stay = next((t for t in self.trials if t.key == key), None)
        self._select(stay or (self.front[len(self.front) // 2] if self.front else None))
        self.refresh()

    def _select(self, trial: Trial | None) -> None:
        changed = (trial.key if trial else None) != (self.selected.key if self.selected else None)
        self.selected = trial
        self.refresh()
        if changed and trial is not None:
            self.post_message(self.Moved(trial.key))

    def _range(self) -> tuple[float, float, float, float]:
        gaps, kept = zip(*map(self._scaled, self.trials), strict=True)
        return min(gaps), max(gaps), min(kept), max(kept)

    def _scaled(self, trial: Trial) -> tuple[float, float]:
        """Gap and retention on the scales of the axes."""
        gap = math.log10(max(trial.gap, LEAST)) if self.scale else trial.gap
        kept = -math.log10(max(1 - trial.retention, LEAST)) if self.scale == "both" else trial.retention
        return gap, kept

    def _place(self, trial: Trial) -> tuple[int, int]:
        """Column and row of a trial."""
        left, right, low, high = self._range()
        width, height = max(2, self.size.width - MARGIN), max(2, self.size.height - 2)
        gap, kept = self._scaled(trial)
        x = round((gap - left) / max(right - left, 1e-12) * (width - 1))
        y = round((high - kept) / max(high - low, 1e-12) * (height - 1))
        return x, y

    def action_walk(self, key: str) -> None:
        """Go to the nearest trial in a direction."""
        here = self.selected
        if here is None:
            return
        dx, dy = DIRECTIONS[key]
        x0, y0 = self._place(here)
        best: tuple[float, Trial] | None = None
        for trial in self.trials:
            x, y = self._place(trial)
            ahead = (x - x0) * dx - 2 * (y - y0) * dy
            aside = abs((x - x0) * dy) + 2 * abs((y - y0) * dx)
            if ahead > 0 and (best is None or ahead + 2 * aside < best[0]):
                best = (ahead + 2 * aside, trial)
        if best is not None:
            self._select(best[1])

    def select(self, key: str | None) -> None:
        """Put the cursor on a trial."""
        found = next((t for t in self.trials if t.key == key), None)
        if found is not None:
            self._select(found)

    def set_log(self, log: Log) -> None:
        """Choose the logarithmic axes."""
        self.scale = log
        self.refresh()

    def action_front(self, by: int) -> None:
        """Go along the front."""
        front = self.front
        if front:
            at = front.index(self.selected) if self.selected in front else -1 if by > 0 else len(front)
            self._select(front[max(0, min(len(front) - 1, at + by))])

    def on_click(self, event: events.Click) -> None:
        """Go to the trial nearest to a click."""
        if self.trials:
            x, y = event.x - MARGIN, event.y
            places = [(self._place(t), t) for t in self.trials]
            self._select(min(places, key=lambda p: (p[0][0] - x) ** 2 + 4 * (p[0][1] - y) ** 2)[1])

    def render(self) -> Text:
        """The points: ● on the front, · behind it, ◆ under the cursor; dashes join the front."""
        ink = Ink.of(self.app)
        width, height = self.size.width - MARGIN, self.size.height - 2
        if not self.trials or width < 8 or height < 3:
            return Text(self.hint, "dim")
        cells: dict[tuple[int, int], tuple[str, str]] = {}
        corners = [self._place(t) for t in self.front]
        for (x0, y0), (x1, y1) in pairwise(corners):
            count = max(abs(x1 - x0), abs(y1 - y0), 1)
            for i in range(count + 1):
                at = (x0 + round((x1 - x0) * i / count), y0 + round((y1 - y0) * i / count))
                cells[at] = ("╌", ink.faint)
        for trial in self.trials:
            cells[self._place(trial)] = ("·", "")
        for trial in self.front:
            cells[self._place(trial)] = ("●", ink.good)
        if self.selected is not None:
            cells[self._place(self.selected)] = ("◆", f"bold {ink.warn}")
        gaps, kept = [t.gap for t in self.trials], [t.retention for t in self.trials]
        left, right, low, high = min(gaps), max(gaps), min(kept), max(kept)
        text = Text(no_wrap=True)
        for y in range(height):
            edge = f"{high:.3f} " if y == 0 else f"{low:.3f} " if y == height - 1 else "│ "
            text.append(edge.rjust(MARGIN), style="dim")
            for x in range(width):
                text.append(*cells.get((x, y), (" ", "")))
            text.append("\n")
        spelling = ".2g" if self.scale else ".4f"
        ends = f"{left:{spelling}}".ljust(max(0, width - 10)) + f"{right:{spelling}}".rjust(10)
        text.append(" " * MARGIN + ends + "\n", style="dim")
        text.append(
            "retention ↑ against gap →   ● front  · behind it  ◆ here"
            + {"": "", "gap": "   log gap", "both": "   log both"}[self.scale],
            style="dim",
        )
        return text


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials within the constraint that no other such trial dominates, from the smallest gap on."""
    if not trials:
        return []
    import numpy as np

    from sa_mlops.tuning.front import CLASS_DROP, ROUNDING, on_front

    losses = np.array([(t.gap, -t.retention) for t in trials])
    allowed = np.array([t.drop <= CLASS_DROP + ROUNDING for t in trials])
    found = [t for t, kept in zip(trials, on_front(losses, allowed), strict=True) if kept]
    return sorted(found, key=lambda t: (t.gap, -t.retention))
