"""A run in one line: state, progress, time."""

from __future__ import annotations

from rich.text import Text

from tui.plain import clean, duration, number
from tui.services.records import LOST, Run, Snapshot, progress, seconds_left, term, working
from tui.widgets.ink import Ink

STATES = {
    "RUNNING": ("◐", "running", "accent"),
    "SCHEDULED": ("○", "waiting", ""),
    "FINISHED": ("●", "done", "good"),
    "FAILED": ("✗", "failed", "bad"),
    "KILLED": ("■", "killed", "warn"),
    LOST: ("✗", "lost", "bad"),
}
"""Status -> glyph, word and colour."""


def bar(share: float, width: int = 10) -> str:
    """`█████░░░░░`."""
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full)


def state_text(status: str, ink: Ink) -> Text:
    """Glyph and word of a status."""
    glyph, word, colour = STATES.get(status, ("?", clean(status, 10).lower(), ""))
    return Text(f"{glyph} {word}", style=getattr(ink, colour, ""))


def done(run: Run, share: float | None) -> bool:
    """Whether an active run has done its steps: it measures and registers its result."""
    return run.active and share is not None and share >= 1


def activity(snapshot: Snapshot, run: Run, ink: Ink) -> Text:
    """The stage, progress, remaining time and loss terms of an active run."""
    now = working(snapshot, run)
    counted, share = progress(snapshot, run)
    text = state_text(run.status, ink)
    text = Text(text.plain[:1] + " ", style=text.style)
    text.append(
        clean(run.label, 40) if now is run else f"{clean(run.label, 30)}: {clean(now.name, 40)}", "bold"
    )
    if share is not None:
        text.append("  measuring" if done(counted, share) else f"  {bar(share)} {share:.0%}")
    left = seconds_left(counted, share)
    text.append(f"  {duration(left)} left" if left is not None else f"  since {duration(run.seconds())}")
    terms = {name: v for k, v in now.metrics.items() if (name := term(k))}
    text.append(
        "  " + " · ".join(f"{clean(k, 16)} {number(v)}" for k, v in sorted(terms.items())[:4]), ink.faint
    )
    return text
