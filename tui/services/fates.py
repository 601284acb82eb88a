"""Active runs without a process: it was killed, or the machine stopped."""

from __future__ import annotations

from dataclasses import replace

from tui.services.records import GONE, Snapshot


def marked(snapshot: Snapshot) -> Snapshot:
    """The snapshot with such runs marked; the same object if there are none."""
    active = [run for run in snapshot.runs.values() if run.active]
    if not active:
        return snapshot
    from sa_mlops.registry import processes

    gone = {run.run_id: replace(run, status=GONE) for run in active if processes.fate(run.tags) == "gone"}
    return replace(snapshot, runs={**snapshot.runs, **gone}) if gone else snapshot
