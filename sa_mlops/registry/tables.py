"""MLflow's tables in a sqlite file, read directly.

To import MLflow and connect takes seconds, and its search over ten thousand versions many more. Nothing is written:
MLflow itself would make its tables in a file of another program.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sa_mlops.errors import CommandError
from sa_mlops.registry import names
from sa_mlops.registry.version import Version

WAIT_SECONDS = 5.0
DELETED = "Deleted_Internal"
"""MLflow's stage of a deleted version."""
Key = tuple[str, int]
"""Registered model and version number."""
RunTable = Literal["tags", "params", "latest_metrics"]


class TablesError(CommandError):
    """The file is no MLflow store of a known schema. The message is one line."""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, for reading only: a missing one is not made.

    Raises TablesError if the file is not a database, or lacks a table or column that is read.
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


def aliases(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Registered model -> alias -> version number."""
    found: dict[str, dict[str, int]] = {name: {} for name in names.MODELS}
    for name, alias, number in db.execute("SELECT name, alias, version FROM registered_model_aliases"):
        if name in found:
            found[name][str(alias)] = int(number)
    return found


def mark(db: sqlite3.Connection) -> object:
    """A value that is equal as long as no version and no tag of one was added, removed or updated."""
    counts = db.execute(
        "SELECT count(*), max(version), max(last_updated_time) FROM model_versions"
    ).fetchone()
    return (*counts, *db.execute("SELECT count(*) FROM model_version_tags").fetchone())


def versions(db: sqlite3.Connection) -> dict[Key, Version]:
    """The versions of the three registered models, by model and number, in the order of numbers; without aliases."""
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


def values(
    db: sqlite3.Connection,
    table: RunTable,
    *,
    runs: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
) -> Iterator[tuple[str, str, str | float]]:
    """Run, key and value of every row of one of the runs' tables; NaN for a metric that is not a number.

    Parameters
    ----------
    runs, keys : read the rows of these runs, or of these keys; None for all.
    """
    value = METRIC if table == "latest_metrics" else "value"
    column, wanted = ("run_uuid", runs) if keys is None else ("key", keys)
    where = "" if wanted is None else f" WHERE {column} IN ({','.join('?' * len(wanted))})"
    query = f"SELECT run_uuid, key, {value} FROM {table}{where}"  # noqa: S608
    for run_id, key, told in db.execute(query, tuple(wanted or ())):
        yield str(run_id), str(key), _number(told) if table == "latest_metrics" else str(told)


METRIC = "CASE WHEN is_nan THEN NULL ELSE value END"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


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


def model_tags(db: sqlite3.Connection, name: str) -> dict[str, str]:
    """Tags of a registered model."""
    query = "SELECT key, value FROM registered_model_tags WHERE name = ?"
    return {str(key): str(value or "") for key, value in db.execute(query, (name,))}
