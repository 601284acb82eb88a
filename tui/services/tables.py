"""MLflow's tables in a sqlite file, read directly.

To import MLflow and connect takes seconds, and its search over ten thousand versions many more. Nothing is written:
MLflow itself would make its tables in a file of another program.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.services.records import Key, Run, Snapshot

WAIT_SECONDS = 5.0
FEW = 1000
"""Up to this many versions are read whenever the store has changed; more only if their number or age has."""
CHUNK = 500
DELETED = "Deleted_Internal"
"""MLflow's stage of a deleted version."""


class TablesError(RuntimeError):
    """The file is no MLflow store of a known schema. The message is one line."""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, for reading only: a missing one is not made.

    Raises
    ------
    TablesError : if it is no database, or lacks a table or column that is read.
    """
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as db:
        try:
            yield db
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                raise TablesError(f"{path} is not an MLflow store of a known version ({error})") from error
            raise TablesError(f"{path} cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise TablesError(f"{path} is not a sqlite database ({error})") from error


def snapshot(path: Path, old: Snapshot | None) -> Snapshot:
    """Versions, aliases and runs.

    Parameters
    ----------
    old : the last reading; its ended runs are reused, and so are many unchanged versions.
    """
    with opened(path) as db:
        aliases: dict[str, dict[str, int]] = {name: {} for name in names.MODELS}
        for name, alias, number in db.execute("SELECT name, alias, version FROM registered_model_aliases"):
            if name in aliases:
                aliases[name][str(alias)] = int(number)
        mark = _mark(db)
        same = old is not None and old.mark == mark and len(old.versions) > FEW
        versions = old.versions if old is not None and same else _versions(db)
        runs = _runs(db, {} if old is None else old.runs)
    return Snapshot(versions, aliases, runs, True, mark)


def _mark(db: sqlite3.Connection) -> object:
    counts = db.execute(
        "SELECT count(*), max(version), max(last_updated_time) FROM model_versions"
    ).fetchone()
    return (*counts, *db.execute("SELECT count(*) FROM model_version_tags").fetchone())


def _versions(db: sqlite3.Connection) -> dict[Key, Version]:
    tags: dict[Key, dict[str, str]] = defaultdict(dict)
    for name, number, key, value in db.execute(
        "SELECT name, version, key, value FROM model_version_tags WHERE name IN (?, ?, ?)",
        names.MODELS,
    ):
        tags[name, int(number)][str(key)] = str(value or "")
    found = {}
    for name, number, source, run_id, created, text in db.execute(
        "SELECT name, version, source, run_id, creation_time, description FROM model_versions "
        "WHERE name IN (?, ?, ?) AND current_stage != ? ORDER BY version",
        (*names.MODELS, DELETED),
    ):
        target = names.MODEL_SOURCE.fullmatch(str(source or ""))
        found[name, int(number)] = Version(
            name=name,
            number=int(number),
            tags=tags.get((name, int(number)), {}),
            run_id=str(run_id or ""),
            model_id=target[1] if target else None,
            created=int(created or 0),
            description=str(text or ""),
        )
    return found


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
    tables = (("tags", "tags", "value"), ("params", "params", "value"), ("latest_metrics", "metrics", METRIC))
    for table, field, value in tables:
        for ids, where in _chunks(list(fresh)):
            query = f"SELECT run_uuid, key, {value} FROM {table} {where}"  # noqa: S608
            for run_id, key, told in db.execute(query, ids):
                if run_id in fresh:
                    getattr(fresh[run_id], field)[str(key)] = (
                        _number(told) if field == "metrics" else str(told)
                    )
    return found


METRIC = "CASE WHEN is_nan THEN NULL ELSE value END"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _chunks(ids: Sequence[str]) -> Iterable[tuple[Sequence[str], str]]:
    """Ids with a clause that selects them; none, for the whole table, if there are many."""
    if len(ids) > CHUNK:
        yield (), ""
    elif ids:
        yield ids, f"WHERE run_uuid IN ({','.join('?' * len(ids))})"


def history(path: Path, run_id: str, keys: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Metric -> points (step, value), in order of steps."""
    found: dict[str, list[tuple[float, float]]] = {key: [] for key in keys}
    with opened(path) as db:
        query = f"SELECT step, {METRIC} FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step, timestamp"  # noqa: S608
        for key in keys:
            found[key] = [(float(step), _number(value)) for step, value in db.execute(query, (run_id, key))]
    return found


def model_place(path: Path, model_id: str) -> str:
    """URI of the folder of a logged model's files; empty if there is no such model."""
    with opened(path) as db:
        query = "SELECT artifact_location FROM logged_models WHERE model_id = ?"
        row = db.execute(query, (model_id,)).fetchone()
    return "" if row is None else str(row[0])


def model_tags(path: Path, name: str) -> dict[str, str]:
    """Tags of a registered model."""
    with opened(path) as db:
        query = "SELECT key, value FROM registered_model_tags WHERE name = ?"
        return {str(key): str(value or "") for key, value in db.execute(query, (name,))}
