"""Snapshots of a sqlite store, from its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sa_mlops.registry import tables
from sa_mlops.registry.tables import RunTable
from tui.services.records import Run, Snapshot

FEW = 1000
"""Up to this many versions are read whenever the store has changed; more only if their number or age has."""
CHUNK = 500
FIELDS: Mapping[str, RunTable] = {"tags": "tags", "params": "params", "metrics": "latest_metrics"}
"""Field of a run -> its table."""


def snapshot(path: Path, old: Snapshot | None) -> Snapshot:
    """Versions, aliases and runs.

    Parameters
    ----------
    old : the last reading; its ended runs are reused, and so are many unchanged versions.

    Raises
    ------
    TablesError : if the file is no store that can be read.
    """
    with tables.opened(path) as db:
        mark = tables.mark(db)
        same = old is not None and old.mark == mark and len(old.versions) > FEW
        versions = old.versions if old is not None and same else tables.versions(db)
        runs = _runs(db, {} if old is None else old.runs)
        return Snapshot(versions, tables.aliases(db), runs, True, mark)


def _runs(db: sqlite3.Connection, known: Mapping[str, Run]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    fresh: dict[str, Run] = {}
    for run_id, name, status, started, ended, experiment, artifacts in db.execute(
        "SELECT run_uuid, name, status, start_time, end_time, experiment_id, artifact_uri FROM runs "
        "WHERE lifecycle_stage = 'active' AND experiment_id IN "
        "(SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active') ORDER BY start_time DESC"
    ):
        before = known.get(run_id)
        if before is not None and not before.active and (before.status, before.ended) == (status, ended or 0):
            found[run_id] = before
            continue
        found[run_id] = fresh[run_id] = Run(
            run_id=str(run_id), title=str(name or ""), status=str(status), started=int(started or 0),
            ended=int(ended or 0), experiment=str(experiment), artifacts=str(artifacts or ""),
            tags={}, params={}, metrics={},
        )  # fmt: skip
    for field, table in FIELDS.items():
        for ids in _chunks(list(fresh)):
            for run_id, key, value in tables.values(db, table, runs=ids):
                if run_id in fresh:
                    getattr(fresh[run_id], field)[key] = value
    return found


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str] | None]:
    """Ids to be read together; None, for the whole table, if there are many."""
    if len(ids) > CHUNK:
        yield None
    elif ids:
        yield ids
