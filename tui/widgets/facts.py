"""Tags, metrics and parameters of versions and runs as text. Whatever comes from the store is text, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from tui.plain import clean, fit, moment, number
from tui.services.records import Snapshot
from tui.widgets.ink import Ink

if TYPE_CHECKING:
    from sa_mlops.registry.gates import AliasEvent
    from sa_mlops.registry.version import Version

FALLING = (
    "forget.prob",
    "forget.accuracy",
    "nelbo",
    "retain.fid",
    "time.",
    "attack.",
    "membership",
    "objective.gap",
    "class_drop",
    "ece",
    "overhead",
)
RISING = ("forget.entropy", "retain.", "objective.retention", "judge.accuracy", "accuracy")
SAME = 5e-5
FIRST = (
    "forget.prob",
    "forget.entropy",
    "retain.accuracy",
    "retain.accuracy_min",
    "retain.fid",
    "base.test_nelbo",
)
"""What is read first stands first."""


def wish(key: str, forgotten: Sequence[int] = ()) -> int:
    """+1 if more of a metric is better, -1 if less is, 0 if neither can be said."""
    words = key.split(".")
    if words[0] == "class" and len(words) > 2 and words[1].isdigit():
        gone = int(words[1]) in forgotten
        return {"entropy": 1 if gone else -1, "prob": -1 if gone else 1, "accuracy": -1 if gone else 1}.get(
            words[2], 0
        )
    if any(word in key for word in FALLING):
        return -1
    return 1 if any(word in key for word in RISING) else 0


def change(key: str, value: float, other: float | None, ink: Ink, forgotten: Sequence[int] = ()) -> Text:
    """The change against another value: signed, ▲ better, ▼ worse, = the same; 13 cells."""
    if other is None:
        return Text(" " * 13)
    difference = value - other
    sign = 0 if abs(difference) < SAME else wish(key, forgotten) * (1 if difference > 0 else -1)
    glyph = "=" if abs(difference) < SAME else {1: "▲", -1: "▼", 0: " "}[sign]
    style = {1: ink.good, -1: ink.bad, 0: ink.faint}[sign]
    spelled = f"{difference:+.4f}" if abs(difference) < 1000 else f"{difference:+.3g}"
    return Text(f"{spelled:>11} {glyph}", style=style)


def metric_lines(
    metrics: Mapping[str, float],
    parent: Mapping[str, float],
    root: Mapping[str, float],
    ink: Ink,
    forgotten: Sequence[int] = (),
) -> Text:
    """Metrics with their change against the parent and the base."""
    text = Text(no_wrap=True)
    if not metrics:
        return Text("no metrics on its run", style="dim")
    text.append(f"{'metric':<30}{'value':>10}{'vs parent':>13}{'vs base':>13}\n", style="bold")
    shown = [k for k in metrics if not k.startswith("base.") or k == "base.test_nelbo"]
    for key in sorted(shown, key=lambda k: (FIRST.index(k) if k in FIRST else len(FIRST), k)):
        value = metrics[key]
        text.append(fit(key, 29) + " " + f"{number(value):>10}")
        text.append_text(change(key, value, parent.get(key), ink, forgotten))
        text.append_text(change(key, value, metrics.get(f"base.{key}", root.get(key)), ink, forgotten))
        text.append("\n")
    return text


def pairs(values: Mapping[str, str], *, longest: int = 400) -> Text:
    """Names and values, one a line."""
    text = Text()
    for key, value in sorted(values.items()):
        text.append(fit(key, 25) + " ", style="bold")
        text.append(clean(value, longest) + "\n")
    return text


def about(snapshot: Snapshot, version: Version, url: str, ink: Ink) -> Text:
    """Who a version is: URI, aliases, age, description, tags, address of its page."""
    text = Text()
    text.append(f"{clean(version.uri)}  ", style="bold")
    for alias in snapshot.aliases_of(version):
        text.append(f"@{clean(alias, 30)} ", style=f"bold {ink.warn}")
    text.append(f"\nmade {moment(version.created)} by run {clean(version.run_id, 40) or '(unknown)'}\n")
    if not version.stage:
        text.append("made by another project: nothing here is known of it\n", style=ink.warn)
    text.append(f"{clean(url, 300)}\n", style="underline")
    if version.description.strip():
        text.append("\n")
        for line in version.description.strip().split("\n")[:40]:
            text.append(clean(line.replace("**", ""), 1000) + "\n")
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
        before = f"v{event.previous}" if event.previous is not None else "nothing"
        text.append(f"  {moment(event.at)}  @{clean(event.alias, 30)}  {before} -> v{event.number}\n")
    if not events:
        text.append("  none recorded\n", style="dim")
    return text


def compared(snapshot: Snapshot, versions: Sequence[Version], width: int) -> Text:
    """Versions side by side: tags and parameters that differ, then metrics with a glyph at the best."""
    column = max(12, min(26, (width - 28) // max(1, len(versions))))
    text = Text(no_wrap=True)
    text.append(" " * 28 + "".join(fit(v.title, column - 1) + " " for v in versions) + "\n", style="bold")
    for heading, tables in (
        ("tags that differ", [dict(v.tags) for v in versions]),
        ("parameters that differ", [_params(snapshot, v) for v in versions]),
    ):
        text.append(f"\n{heading}\n", style="bold")
        keys = sorted({k for table in tables for k in table})
        for key in keys:
            values = [table.get(key, "-") for table in tables]
            if len(set(values)) > 1:
                text.append(fit(key, 27) + " " + "".join(fit(v, column - 1) + " " for v in values) + "\n")
    text.append("\nmetrics (◆ the best)\n", style="bold")
    tables_of_metrics = [snapshot.metrics_of(v) for v in versions]
    for key in sorted({k for t in tables_of_metrics for k in t if not k.startswith("base.")}):
        found = [t.get(key) for t in tables_of_metrics]
        sign = wish(key)
        known = [sign * v for v in found if v is not None]
        text.append(fit(key, 27) + " ")
        for value in found:
            best = sign != 0 and value is not None and len(set(known)) > 1 and sign * value == max(known)
            word = "-" if value is None else number(value) + (" ◆" if best else "")
            text.append(fit(word, column - 1) + " ", style="bold" if best else "")
        text.append("\n")
    return text


def _params(snapshot: Snapshot, version: Version) -> Mapping[str, str]:
    run = snapshot.runs.get(version.run_id)
    return run.params if run is not None else {}


def digit_matrix(snapshot: Snapshot, versions: Sequence[Version], ink: Ink) -> Text:
    """The judge's probability of each digit's samples, a version a line; forgotten digits in parentheses."""
    text = Text("judge's mean probability of the asked digit; (forgotten)\n\n", style="bold")
    text.append(" " * 22 + "".join(f"{d:>8}" for d in range(10)) + "\n", style="bold")
    for version in versions:
        metrics = snapshot.metrics_of(version)
        text.append(fit(version.title, 21) + " ")
        for digit in range(10):
            value = metrics.get(f"class.{digit}.prob")
            gone = str(digit) in version.forgotten
            word = "-" if value is None else f"({value:.3f})" if gone else f"{value:.3f} "
            text.append(f"{word:>8}", style=ink.accent if gone else "")
        text.append("\n")
    return text
