"""Checks of a store before MLflow opens it: tables of this MLflow, artifacts in their recorded places."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sa_mlops.environment import database
from sa_mlops.errors import CommandError

ARTIFACTS = "mlruns"
"""MLflow's folder of artifacts beside a sqlite store."""
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of a store that hold absolute places of artifacts."""


class StoreError(CommandError):
    """The tracking store cannot be used. The message is one line.

    Attributes
    ----------
    advice : what to do about it, empty where the message says so itself.
    """

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found, self.advice = found, advice


def check(uri: str) -> None:
    """Raise StoreError if MLflow would migrate the store on opening it, or its artifacts are recorded elsewhere."""
    path = database(uri)
    if path is not None and (not path.exists() or not path.stat().st_size):
        return
    if path is None and not uri.startswith(("postgresql", "mysql", "mssql")):
        return
    if is_outdated(uri):
        raise StoreError(
            f"tracking store {uri}: its tables are those of an older MLflow; nothing was changed",
            f"copy the database, then `mlflow db upgrade {shlex.quote(uri)}`",
        )
    if path is not None and (before := moved_from(path)) is not None:
        raise StoreError(
            f"tracking store {uri}: its artifacts were in {before} when they were recorded, and lie beside it now",
            "`sa-mlops doctor --fix` corrects the recorded places",
        )


def is_outdated(uri: str) -> bool:
    """Whether tables are missing in a store that has runs or versions. MLflow would add them without asking.

    A store with other columns in the same tables is refused by MLflow itself.
    """
    import sqlalchemy
    from mlflow.store.db import utils

    engine = sqlalchemy.create_engine(uri)
    try:
        there = set(sqlalchemy.inspect(engine).get_table_names())
        if utils._all_tables_exist(engine):  # type: ignore[no-untyped-call]
            return False
        with engine.connect() as connection:
            # A store whose creation was interrupted has nothing in it yet, and may be completed.
            return any(
                connection.execute(sqlalchemy.text(f"SELECT 1 FROM {table} LIMIT 1")).first()  # noqa: S608
                for table in ("runs", "registered_models")
                if table in there
            )
    finally:
        engine.dispose()


def moved_from(path: Path) -> Path | None:
    """The folder that a sqlite store was in when its artifacts were recorded, if those lie beside it now; else None."""
    with closing(_opened(path, "ro")) as db:
        try:
            rows = db.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:
            return None
    for (location,) in rows:
        place = local(str(location))
        if place is None or ARTIFACTS not in place.parts:
            continue
        before = Path(*place.parts[: len(place.parts) - 1 - place.parts[::-1].index(ARTIFACTS)])
        same = before == path.parent or (before.exists() and before.samefile(path.parent))
        if not same and (path.parent / place.relative_to(before)).is_dir():
            return before
    return None


def correct_places(path: Path) -> int:
    """Correct the recorded places of artifacts in a store that was moved or copied; the number corrected."""
    count = 0
    while (before := moved_from(path)) is not None:
        known = count
        with closing(_opened(path, "rw")) as db, db:
            for table, column in PLACES:
                for old, new in (
                    (f"{before}/{ARTIFACTS}/", f"{path.parent}/{ARTIFACTS}/"),
                    (f"{before.as_uri()}/{ARTIFACTS}/", f"{path.parent.as_uri()}/{ARTIFACTS}/"),
                ):
                    query = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"  # noqa: S608
                    count += db.execute(query, (new, len(old) + 1, len(old), old)).rowcount
        if count == known:
            break
    return count


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=30)


def local(uri: str) -> Path | None:
    """The path of an artifact URI on this machine; None for other places."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None
