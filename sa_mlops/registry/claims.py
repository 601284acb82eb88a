"""Claims about a version: against which attackers its class is suppressed, and whether it is removed.

Both are read from the recorded metrics `level.*`, the probed version's own and those of base, retrained control and
fakes beside it. Needs neither MLflow nor torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LEVELS: Mapping[str, str] = {
    "A0": "asks for the label",
    "A1": "chooses latent and condition",
    "A2": "also edits images (automatic levels)",
    "A3": "edits weights",
    "A4": "trains on retained classes",
    "A5": "trains on the class (worst of a sweep)",
    "A6": "has the base",
}
"""Level -> access of the attacker."""
DIRECT = ".direct"
"""Suffix of a level at which weights change: the class's own label alone is asked for, after the best change."""
ROWS: Mapping[str, str] = {
    row: words
    for level, access in LEVELS.items()
    for row, words in (
        (level, access),
        *(((level + DIRECT, f"{access}, then asks for the label"),) if level in ("A3", "A4", "A6") else ()),
    )
}
"""Row of a table of levels -> access of the attacker."""
LIMIT = 0.1
"""A class is suppressed at a level if the upper end of the success's 95 % interval is at most this; the level is as in
the retrained control if that of the excess over the control is."""
BESIDE = ("base", "retrained", "switch", "lock")
"""Prefixes of the metrics of other generators under the same attacks."""
FAKES = ("switch", "lock")


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval, [0, 1] (an excess: [-1, 1])."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def metric(row: str, subject: str = "", measure: str = "success") -> str:
    """Name of a level's metric: `level.A3.success`, of a generator beside the version `switch.level.A3.success`."""
    return f"{subject}.level.{row}.{measure}" if subject else f"level.{row}.{measure}"


def rate(metrics: Mapping[str, float], row: str, subject: str = "", measure: str = "success") -> Rate | None:
    """A recorded share; None if it or its interval is missing."""
    key = metric(row, subject, measure)
    found = [metrics.get(k) for k in (key, f"{key}.low", f"{key}.high")]
    value, low, high = found
    return None if value is None or low is None or high is None else Rate(value, low, high)


def claim(metrics: Mapping[str, float]) -> str:
    """Both claims in words, of suppression and of removal; empty if no level was measured."""
    measured = {level: found for level in LEVELS if (found := rate(metrics, level)) is not None}
    if not measured:
        return ""
    held = [level for level, found in measured.items() if found.high <= LIMIT]
    lost = ", ".join(
        f"{level} at {found.value:.2f}" for level, found in measured.items() if level not in held
    )
    if held:
        words = f"suppressed against {spans(held)}" + (f", not against {lost}" if lost else "")
    else:
        words = f"not suppressed: {lost}"
    missing = [level for level in LEVELS if level not in measured]
    words += f" ({spans(missing)} not measured)" if missing else ""
    return f"{words}; {_removal(metrics)}"


def _removal(metrics: Mapping[str, float]) -> str:
    missing: set[str] = set()
    over: list[str] = []
    unclear: list[str] = []
    for row in ROWS:
        found, excess = rate(metrics, row), rate(metrics, row, measure="excess")
        control = rate(metrics, row, "retrained")
        if found is None or excess is None or control is None:
            missing.add(row.removesuffix(DIRECT))
        elif excess.high > LIMIT:
            words = f"{row.replace(DIRECT, ' by its own label')} at {found.value:.2f} (retrained {control.value:.2f})"
            (over if excess.low > 0 else unclear).append(words)
    if over:
        return f"not removed: {', '.join(over)}"
    alike = [fake for fake in FAKES if not _told_apart(metrics, fake)]
    reasons = [f"{spans(missing)} not measured"] if missing else []
    reasons += [f"too few attempts at {', '.join(unclear)}"] if unclear else []
    reasons += [f"no level measured tells {' and '.join(alike)} from it"] if alike else []
    if reasons:
        return f"not shown to be as the retrained control: {'; '.join(reasons)}"
    return "removed: at no level above the retrained control, where both fakes are"


def _told_apart(metrics: Mapping[str, float], fake: str) -> bool:
    """Whether a fake exceeds the retrained control at some level: else that comparison has no power."""
    return any(
        theirs is not None and control is not None and theirs.low > control.high
        for row in ROWS
        for theirs, control in [(rate(metrics, row, fake), rate(metrics, row, "retrained"))]
    )


def spans(levels: Iterable[str]) -> str:
    """Levels in words: `A0 to A2, A4`."""
    order = list(LEVELS)
    places = sorted(order.index(level) for level in levels)
    groups: list[list[int]] = []
    for place in places:
        if groups and place == groups[-1][-1] + 1:
            groups[-1].append(place)
        else:
            groups.append([place])
    words = []
    for group in groups:
        first, last = order[group[0]], order[group[-1]]
        words.append(
            first if len(group) == 1 else f"{first}, {last}" if len(group) == 2 else f"{first} to {last}"
        )
    return ", ".join(words)


def level_table(columns: Sequence[tuple[str, Mapping[str, float], str]]) -> tuple[tuple[str, ...], ...]:
    """Levels as rows, generators as columns, shares with their 95 % intervals; empty if nothing was measured.

    Parameters
    ----------
    columns : heading, metrics of a version's run, and prefix in them, empty for the version's own.
    """
    found = [
        (heading, {row: cell for row in ROWS if (cell := rate(metrics, row, subject)) is not None})
        for heading, metrics, subject in columns
    ]
    shown = [(heading, cells) for heading, cells in found if cells]
    rows = [row for row in ROWS if any(row in cells for _, cells in shown)]
    if not rows:
        return ()
    body = (
        (
            f"{row.removesuffix(DIRECT)} {ROWS[row]}",
            *(str(cells[row]) if row in cells else "-" for _, cells in shown),
        )
        for row in rows
    )
    return (("attacker", *(heading for heading, _ in shown)), *body)
