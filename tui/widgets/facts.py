"""Tags, metrics and parameters of versions and runs as text. Text from the store is never markup."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from sa_mlops.registry import claims, names
from sa_mlops.registry.version import Version
from tui.plain import clean, fit, moment, number
from tui.services.orders import wish
from tui.services.records import CLASS_SETS, Snapshot
from tui.widgets.ink import Ink

if TYPE_CHECKING:
    from sa_mlops.registry.log import AliasEvent

BASE_LOSS = "base.test_nelbo"
SAME = 5e-5
LONGEST_NAME = 45
"""Cells of a name beside its value."""
NARROWEST = 13
"""Cells of a column of numbers with a mark."""
CHANGE = 13
"""Cells of a change."""
DERIVED = (names.SETTINGS, names.CONFIG)
"""Tags that repeat the parameters."""
FIRST = (
    "forget.prob",
    "forget.entropy",
    "retain.accuracy",
    "retain.accuracy_min",
    "retain.fid",
    "base.test_nelbo",
)
"""Order of the most important metrics, above the others."""


def change(key: str, value: float, other: float | None, ink: Ink, forgotten: Collection[str] = ()) -> Text:
    """The change against another value: signed, ▲ better, ▼ worse, = equal; `CHANGE` cells."""
    if other is None:
        return Text(" " * CHANGE)
    difference = value - other
    sign = 0 if abs(difference) < SAME else wish(key, forgotten) * (1 if difference > 0 else -1)
    glyph = "=" if abs(difference) < SAME else {1: "▲", -1: "▼", 0: " "}[sign]
    style = {1: ink.good, -1: ink.bad, 0: ink.faint}[sign]
    spelled = f"{difference:+.4f}" if abs(difference) < 1000 else f"{difference:+.3g}"
    return Text(f"{spelled:>11} {glyph}", style=style)


def metric_lines(
    metrics: Mapping[str, float],
    before: Mapping[str, Mapping[str, float]],
    ink: Ink,
    forgotten: Collection[str] = (),
    width: int = 66,
) -> Text:
    """Metrics with their change against other values, in `width` cells.

    Parameters
    ----------
    before : heading of a column -> the other values.
    """
    room = width - 10 - CHANGE * len(before)
    name = max(30, min(room, max((len(k) for k in metrics), default=0) + 1))
    text = Text(no_wrap=True)
    if not metrics:
        return Text("no metrics on its run", style="dim")
    headings = "".join(f"{heading:>{CHANGE}}" for heading in before)
    text.append(f"{'metric':<{name}}{'value':>10}{headings}\n", style="bold")
    for key in ordered(metrics):
        text.append(fit(key, name - 1) + " " + f"{number(metrics[key]):>10}")
        for values in before.values():
            text.append_text(change(key, metrics[key], values.get(key), ink, forgotten))
        text.append("\n")
    return text


def evidence(metrics: Mapping[str, float], claim: str) -> Text:
    """The claims about a probed version and the levels behind them; empty for others."""
    text = Text()
    if claim:
        text.append(f"{clean(claim, 1000)}\n\n")
    subjects = {"base": "base", "": "version"} | {s: s for s in claims.BESIDE if s != "base"}
    found = {
        s: {row: cell for row in claims.ROWS if (cell := claims.rate(metrics, row, s))} for s in subjects
    }
    rows = [row for row in claims.ROWS if any(row in cells for cells in found.values())]
    if not rows:
        return text
    shown = [s for s in subjects if found[s]]
    text.append(f"{'attacker':<9}" + "".join(f"{subjects[s]:>11}" for s in shown) + "\n", style="bold")
    for row in rows:
        text.append(f"{row.replace(claims.DIRECT, ' label'):<9}")
        cells = [found[s].get(row) for s in shown]
        text.append("".join(f"{'-' if c is None else _percent(c):>11}" for c in cells) + "\n")
    legend = [f"{level} {words}" for level, words in claims.LEVELS.items() if level in rows]
    if fakes := [s for s in shown if s in claims.FAKES]:
        legend.append(f"{', '.join(fakes)}: fakes made of the base, which have forgotten nothing")
    words = (
        "attempts that draw the class, % and its 95 % interval; label: asks for it after the best change. "
    )
    text.append(f"{words}{'; '.join(legend)}.\n\n", style="dim")
    return text


def _percent(rate: claims.Rate) -> str:
    return f"{100 * rate.value:.0f} {100 * rate.low:.0f}-{100 * rate.high:.0f}"


def ordered(keys: Collection[str]) -> list[str]:
    """Metrics in the order of their importance; without those of generators that stand beside the version."""
    other = tuple(f"{subject}." for subject in claims.BESIDE)
    shown = [k for k in keys if not k.startswith(other) or (k == BASE_LOSS and "test_nelbo" not in keys)]
    return by_importance(shown)


def by_importance(keys: Collection[str]) -> list[str]:
    """Metrics with the most important ones first, the others by name."""
    return sorted(keys, key=lambda k: (FIRST.index(k) if k in FIRST else len(FIRST), k))


def pairs(values: Mapping[str, str], order: Callable[[Collection[str]], Iterable[str]] = sorted) -> Text:
    """Names and values, one a line; without those that are empty."""
    text = Text()
    name = max(25, min(LONGEST_NAME, max((len(key) for key in values), default=0)))
    for key in order(values):
        if value := values[key]:
            text.append(fit(key, name) + " ", style="bold")
            text.append(clean(value, 400) + "\n")
    return text


def about(snapshot: Snapshot, version: Version, url: str, ink: Ink) -> Text:
    """URI, aliases, age, description and tags of a version, and the address of its page."""
    text = Text()
    text.append(f"{clean(version.uri)}  ", style="bold")
    for alias in snapshot.aliases_of(version):
        text.append(f"@{clean(alias, 30)} ", style=f"bold {ink.warn}")
    text.append(f"\nmade {moment(version.created)} by run {clean(version.run_id, 40) or '(unknown)'}\n")
    if not version.stage:
        text.append("made by another project\n", style=ink.warn)
    if note := version.tags.get(names.NOTE, ""):
        text.append(f"note: {clean(note, 1000)}\n", style="bold")
    text.append(f"{clean(url, 300)}\n", style="underline")
    text.append(f"{clean(version.claim, 1000)}\n" if version.claim else "")
    if version.description.strip():
        words = "\n".join(n for n in version.description.split("\n") if not n.startswith("!["))
        text.append("\n")
        for line in words.strip().split("\n")[:40]:
            text.append(clean(line.replace("**", "").replace("`", ""), 1000) + "\n")
    text.append("\n")
    return text.append_text(pairs(version.tags))


def history(events: Sequence[AliasEvent], aliases: Mapping[str, int], version: Version | None) -> Text:
    """Where aliases point now and where they pointed before."""
    text = Text("now\n", style="bold")
    for alias, target in sorted(aliases.items()):
        here = "  this version" if version is not None and target == version.number else ""
        text.append(f"  @{clean(alias, 30)} -> v{target}{here}\n")
    if not aliases:
        text.append("  no aliases\n", style="dim")
    text.append("\nchanges, newest first\n", style="bold")
    for event in reversed(events):
        before, now = ("nothing" if n is None else f"v{n}" for n in (event.previous, event.number))
        text.append(f"  {moment(event.at)}  @{clean(event.alias, 30)}  {before} -> {now}\n")
    if not events:
        text.append("  none recorded\n", style="dim")
    return text


class _Columns:
    """A table with a line a key and a column a version."""

    def __init__(self, versions: Sequence[Version], width: int, keys: Collection[str] = ()) -> None:
        count = max(1, len(versions))
        # The keys are whole wherever the columns have room for a number and its mark beside them.
        longest = max((len(key) for key in keys), default=0)
        self.key = max(27, min(LONGEST_NAME, longest, width - NARROWEST * count - 1))
        self.column = max(NARROWEST, min(26, (width - self.key - 1) // count))
        self.text = Text(no_wrap=True)
        self.line("", [v.title for v in versions], range(len(versions)))

    def heading(self, words: str) -> None:
        """A heading under an empty line."""
        self.text.append(f"\n{words}\n", style="bold")

    def line(self, key: str, words: Sequence[str], bold: Collection[int] = ()) -> None:
        """A line with the columns at some positions in bold."""
        self.text.append(fit(key, self.key) + " ")
        for i, word in enumerate(words):
            self.text.append(fit(word, self.column - 1) + " ", style="bold" if i in bold else "")
        self.text.append("\n")


def compared(snapshot: Snapshot, versions: Sequence[Version], width: int, *, differing: bool = False) -> Text:
    """Versions side by side: metrics with a mark at the best, then differences in how they were made.

    Parameters
    ----------
    differing : only the metrics that are not equal for all versions.
    """
    sets, metrics = _over_equal_classes(snapshot, versions)
    table = _Columns(versions, width, ordered({k for found in metrics for k in found}))
    table.heading("metrics that differ (◆ the best)" if differing else "metrics (◆ the best)")
    for key in ordered({k for found in metrics for k in found}):
        values = [found.get(key) for found in metrics]
        if differing and len({None if v is None else number(v) for v in values}) == 1:
            continue
        best = _best(key, values, sets)
        table.line(
            key, ["-" if v is None else number(v) + " ◆" * (i in best) for i, v in enumerate(values)], best
        )
    for heading, settings in (
        ("parameters that differ", [snapshot.resolved_params(v) for v in versions]),
        ("tags that differ", [{k: v.tags[k] for k in v.tags if k not in DERIVED} for v in versions]),
    ):
        table.heading(heading)
        # A setting of only some versions belongs to another stage: it is no difference between them.
        shared = sorted(set.intersection(*(set(found) for found in settings)))
        differing_keys = [key for key in shared if len({found[key] for found in settings}) > 1]
        for key in differing_keys:
            table.line(key, [found[key] for found in settings])
        table.text.append("" if differing_keys else "none\n", style="dim")
    return table.text


def _over_equal_classes(
    snapshot: Snapshot, versions: Sequence[Version]
) -> tuple[list[tuple[str, ...]], list[Mapping[str, float]]]:
    """Forgotten classes and results of each; of the base over the classes of the others, if these are the same."""
    sets = [v.forgotten for v in versions]
    metrics = [snapshot.metrics_of(v) for v in versions]
    forgetful = [v for v in versions if v.forgotten]
    if len({v.forgotten for v in forgetful}) == 1:
        for i, version in enumerate(versions):
            if version == snapshot.root_of(forgetful[0]):
                sets[i], metrics[i] = forgetful[0].forgotten, snapshot.before(forgetful[0], version)
    return sets, metrics


def _best(key: str, values: Sequence[float | None], sets: Sequence[tuple[str, ...]]) -> Collection[int]:
    """Positions of the best values; none of values over different classes, or where opposite directions are better."""
    if key.startswith(CLASS_SETS) and len(set(sets)) > 1:
        return ()
    wishes = {wish(key, forgotten) for forgotten in sets}
    known = {v for v in values if v is not None}
    if wishes not in ({1}, {-1}) or len(known) < 2:
        return ()
    # Values that are spelled alike are equal to the reader.
    best = number(max(known) if wishes == {1} else min(known))
    found = [i for i, v in enumerate(values) if v is not None and number(v) == best]
    return found if len(found) < sum(v is not None for v in values) else ()


def class_matrix(snapshot: Snapshot, versions: Sequence[Version], width: int) -> Text:
    """The judge's probability of each class's samples, a class a line; of forgotten classes in parentheses."""
    table = _Columns(versions, width)
    table.heading("judge's mean probability of the requested class; (forgotten)")
    for name in dict.fromkeys(c for v in versions for c in v.classes):
        values = [snapshot.metrics_of(v).get(names.class_metric(name, "prob")) for v in versions]
        lost = [i for i, v in enumerate(versions) if name in v.forgotten]
        words = [
            "-" if v is None else f"({v:.3f})" if i in lost else f" {v:.3f}" for i, v in enumerate(values)
        ]
        table.line(name, words, lost)
    return table.text
