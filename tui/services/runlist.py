"""The rows of the list of runs: launches without a run, runs with their nested ones, filtered and sorted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sa_mlops.registry import names
from tui.services.filters import SHORT, Filter, of_run
from tui.services.launcher import Tracked, spell
from tui.services.orders import ranked, wish
from tui.services.records import Run, Snapshot

ORDERS = {
    "newest": "",
    "longest": "",
    **{word: SHORT[word] for word in ("p", "r", "fid")},
    "gap": "objective.gap",
}
"""Orders of the list: by time, by duration, or by a metric, the best first."""
DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Item:
    """A line: a run, a launch without a run, or both."""

    key: str
    run: Run | None = None
    launch: Tracked | None = None
    depth: int = 0
    branches: bool = False
    closed: bool = False


def items(
    snapshot: Snapshot,
    launches: Sequence[Tracked],
    opened: Collection[str] = (),
    pattern: Filter | None = None,
    order: str = "newest",
) -> list[Item]:
    """Launches without a run first, then runs, newest first, with nested ones under those that are open or active.

    Under a filter or in another order every run stands for itself.
    """
    pattern = pattern or Filter()
    by_run = {s.run_id: s for s in launches if s.run_id}
    known = set(snapshot.runs)
    waiting = [s for s in launches if s.run_id not in known]
    waiting.sort(key=lambda s: (not s.live, s.launch.order if s.live else -s.launch.order))
    out = [
        Item(s.launch.key, None, s)
        for s in waiting
        if s.live or s.state in ("failed", "lost")
        if not pattern or pattern.text.lower() in spell(s.launch.command).lower()
    ]
    if pattern or order != "newest":
        found = [run for run in snapshot.runs.values() if not pattern or pattern.matches(of_run(run))]
        return out + [Item(run.run_id, run, by_run.get(run.run_id)) for run in _sorted(found, order)]
    children: dict[str, list[Run]] = {}
    tops = []
    for run in snapshot.runs.values():
        if run.parent in known and run.parent != run.run_id:
            children.setdefault(run.parent, []).append(run)
        else:
            tops.append(run)
    for top in _sorted(tops, "newest"):
        _add(out, top, 0, children, by_run, opened, set())
    return out


def _sorted(runs: Sequence[Run], order: str) -> list[Run]:
    newest = sorted(runs, key=lambda r: (-r.started, r.run_id))
    if order == "longest":
        return ranked(newest, Run.seconds, rising=True)
    if not (metric := ORDERS[order]):
        return newest
    found = {r.run_id: v for r in runs if (v := names.current_metrics(r.metrics).get(metric)) is not None}
    return ranked(
        [r for r in newest if r.run_id in found], lambda r: found[r.run_id], rising=wish(metric) > 0
    )


def _add(
    out: list[Item],
    run: Run,
    depth: int,
    children: dict[str, list[Run]],
    by_run: dict[str, Tracked],
    opened: Collection[str],
    above: set[str],
) -> None:
    nested = [c for c in children.get(run.run_id, []) if c.run_id not in above]
    shown = run.active != (run.run_id in opened)
    out.append(Item(run.run_id, run, by_run.get(run.run_id), depth, bool(nested), not shown))
    if shown and depth < DEEPEST:
        for child in sorted(nested, key=lambda r: (r.started, r.run_id)):
            _add(out, child, depth + 1, children, by_run, opened, above | {run.run_id})
