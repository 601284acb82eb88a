"""Tags, metrics and parameters of versions as text. Whatever comes from the store is text, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from sa_mlops.registry.lineage import Entry

LONGEST = 200
LOWER_IS_BETTER = (
    "forget.prob",
    "nelbo",
    "fid",
    "variance",
    "time.",
    "accuracy_drop",
    "attack.",
    "membership",
    "gap",
)


def clean(text: str, longest: int = LONGEST) -> str:
    """One line without control characters, cut to `longest`."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def chips(forgotten: Sequence[int]) -> Text:
    """Forgotten digits, struck out; said in words too, for terminals that cannot strike."""
    text = Text()
    for d in forgotten:
        text.append(f" {d} ", style="strike reverse")
        text.append(" ")
    return text


def metric_lines(entry: Entry, base: Entry | None, parent: Entry | None, *, every: bool = False) -> Text:
    """Metrics with their change against the parent and the base; ▲ better, ▼ worse, = the same."""
    text = Text()
    text.append(f"{'metric':<28}{'value':>11}{'vs parent':>13}{'vs base':>13}\n", style="bold")
    for key, value in sorted(entry.metrics.items()):
        if not every and (
            key.startswith(("base.", "digit.", "progress.")) or key.endswith((".low", ".high"))
        ):
            continue
        text.append(f"{clean(key, 27):<28}{value:>11.4f}")
        for other in (_of(parent, key), entry.metrics.get(f"base.{key}", _of(base, key))):
            _change(text, key, value, other)
        text.append("\n")
    return text


def _of(entry: Entry | None, key: str) -> float | None:
    return None if entry is None else entry.metrics.get(key)


def _change(text: Text, key: str, value: float, other: float | None) -> None:
    if other is None:
        text.append(f"{'':>13}")
        return
    change = value - other
    better = (change < 0) == any(word in key for word in LOWER_IS_BETTER)
    glyph = "=" if abs(change) < 5e-5 else "▲" if better else "▼"
    colour = "dim" if glyph == "=" else "green" if better else "red"
    text.append(f"{change:>+11.4f} {glyph}", style=colour)


def tag_lines(tags: Mapping[str, str]) -> Text:
    """Names and values."""
    text = Text()
    for key, value in sorted(tags.items()):
        text.append(f"{clean(key, 27):<28}", style="bold")
        text.append(clean(value) + "\n")
    return text


def compare_lines(entries: Sequence[Entry]) -> Text:
    """Versions side by side: tags that differ, then metrics."""
    text = Text()
    text.append(
        f"{'':<28}" + "".join(f"{clean(e.version.title, 21):>22}" for e in entries) + "\n", style="bold"
    )
    for key in sorted({k for e in entries for k in e.version.tags}):
        values = [clean(e.version.tags.get(key, "-"), 21) for e in entries]
        if len(set(values)) > 1:
            text.append(f"{clean(key, 27):<28}" + "".join(f"{v:>22}" for v in values) + "\n")
    for key in sorted({k for e in entries for k in e.metrics if not k.startswith("base.")}):
        cells = [f"{e.metrics[key]:.4f}" if key in e.metrics else "-" for e in entries]
        text.append(f"{clean(key, 27):<28}" + "".join(f"{v:>22}" for v in cells) + "\n")
    return text
