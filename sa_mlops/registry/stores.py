"""Checks of a store before MLflow opens it: tables of this MLflow, artifacts in their recorded places."""

from __future__ import annotations

import os
import shlex
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sa_mlops.environment import database
from sa_mlops.errors import CommandError, in_one_line

ARTIFACTS = "mlruns"
"""MLflow's folder of artifacts beside a sqlite store."""
PATIENCE = 30.0
"""Seconds in which a server must begin to answer; one that is restarted needs some."""
REGISTRY = "MLFLOW_REGISTRY_URI"
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


def refused(uri: str, error: BaseException) -> StoreError:
    """The error of a store that cannot be opened, with the command that helps."""
    advice = ""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("psycopg"):
        advice = "its driver is not installed: `pip install 'psycopg[binary]>=3.2,<4'`"
    elif not uri.startswith(("http:", "https:")) and "://" not in uri.removeprefix("file://"):
        advice = f"folders are no longer stores: {_migrate(uri)}"
    elif "readonly" in str(error) or "unable to open" in str(error):
        advice = "its file or folder may not be written by this user; see `ls -l`"
    return StoreError(f"tracking store {uri}: {in_one_line(error)}", advice)


def _migrate(uri: str) -> str:
    folder = local(uri if uri.startswith(("file:", "/")) else str(Path(uri).absolute()))
    source = shlex.quote(str(folder or uri))
    return f"`mlflow migrate-filestore --source {source} --target sqlite:///mlflow.db`"


def answers(uri: str, patience: float | None = None) -> None:
    """Wait until a server answers, at most `patience` seconds (default `PATIENCE`).

    MLflow's own requests would wait minutes in silence.

    Raises StoreError if it does not answer, or the store is of a kind that MLflow no longer opens.
    """
    if uri.startswith("file:") or "://" not in uri:
        allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() == "true"
        if not allowed and uri != "databricks":
            raise StoreError(f"tracking store {uri}: MLflow no longer keeps runs in a folder", _migrate(uri))
    if not remote(uri):
        return
    import requests

    patience = PATIENCE if patience is None else patience
    end, told = time.monotonic() + patience, False
    while True:
        try:
            requests.get(f"{uri.rstrip('/')}/health", timeout=5)
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL):
            return  # MLflow has its own settings for certificates, and its own words for addresses.
        except requests.exceptions.RequestException as error:
            if time.monotonic() >= end:
                cause = (
                    "no answer" if isinstance(error, requests.exceptions.Timeout) else "it cannot be reached"
                )
                advice = "start the server, or correct MLFLOW_TRACKING_URI"
                raise StoreError(f"tracking store {uri}: {cause}", advice) from None
            if not told:
                sys.stderr.write(f"sa-mlops: {uri} does not answer; waiting up to {patience:.0f} s\n")
                told = True
            time.sleep(0.5)
        else:
            return


def check_registry(uri: str) -> None:
    """Raise StoreError if the model registry that `MLFLOW_REGISTRY_URI` names cannot be used."""
    other = os.environ.get(REGISTRY, "")
    if not other or other == uri:
        return
    from mlflow.tracking import MlflowClient

    advice = f"unset {REGISTRY}, or name a registry that can be searched"
    try:
        answers(other)
        MlflowClient().search_model_versions(
            "name = 'sa-cvae'", max_results=1, order_by=["version_number DESC"]
        )
    except Exception as error:  # each kind of registry has its own
        found = error.found if isinstance(error, StoreError) else in_one_line(error)
        raise StoreError(f"model registry {other} ({REGISTRY}): {found}", advice) from None


def check(uri: str) -> None:
    """Raise StoreError if MLflow would migrate the store on opening it, or its artifacts are recorded elsewhere."""
    path = database(uri)
    if path is not None and (not path.exists() or not path.stat().st_size):
        return
    if path is None and not uri.startswith(("postgresql", "mysql", "mssql")):
        return
    if is_newer(uri):
        import mlflow

        raise StoreError(
            f"tracking store {uri}: its tables are those of a newer MLflow than {mlflow.__version__}",
            "use the environment that made them, or `pip install --upgrade mlflow`",
        )
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


def is_newer(uri: str) -> bool:
    """Whether the store's tables are of a revision that this MLflow does not know."""
    import mlflow
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        if not sqlalchemy.inspect(engine).has_table("alembic_version"):
            return False
        with engine.connect() as connection:
            found = (
                connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalars().all()
            )
    finally:
        engine.dispose()
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    known = {file.name.partition("_")[0] for file in migrations.glob("*.py")}
    return bool(known) and any(str(revision) not in known for revision in found)


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
        try:
            same = before == path.parent or (before.exists() and before.samefile(path.parent))
        except PermissionError:  # it exists, and this user may not look at it
            same = True
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


def remote(uri: str) -> bool:
    """Whether a store is behind a server, whose answers may be lost."""
    return uri.startswith(("http://", "https://"))


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=30)


def local(uri: str) -> Path | None:
    """The path of an artifact URI on this machine; None for other places."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None
