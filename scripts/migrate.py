r"""Copy a local store into the PostgreSQL of `make server`: all rows and files, or none.

    python scripts/migrate.py --from sqlite:///mlflow.db --to postgresql+psycopg://sa@127.0.0.1:5433/mlflow \
        --artifacts .sa-mlops/artifacts

`mlflow db upgrade` makes the tables, and MLflow's models list them. The source is only read. Every id, number, tag and
time is kept.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import sqlalchemy
from mlflow import db as mlflow_db
from mlflow.store.db import utils
from mlflow.store.db.base_sql_model import Base
from sqlalchemy import Connection, Engine, Table, func, select

TABLES = Base.metadata.sorted_tables
LOCATIONS = {
    "experiments": ("artifact_location",), "runs": ("artifact_uri",), "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"), "trace_tags": ("value",),
}  # fmt: skip
"""Table -> columns with locations of files."""
ALWAYS = ("experiments", "workspaces")
"""Tables to which MLflow adds a row when it opens an empty store."""
SCHEME = "mlflow-artifacts:/"
ROWS = 1000


class MigrationError(RuntimeError):
    """The store cannot be copied. The message is one line."""


def local(place: str | None) -> Path | None:
    """The folder that an artifact location names; None if it is not on this machine."""
    parts = urlparse(place or "")
    return Path(unquote(parts.path)).absolute() if parts.scheme in ("", "file") and parts.path else None


def moves(source: Connection) -> dict[str, str]:
    """Locations on this machine -> locations on the server; each includes everything below it."""
    tables = Base.metadata.tables
    experiments, runs, models = tables["experiments"], tables["runs"], tables["logged_models"]
    found: dict[str, str] = {}
    for query, target in (
        (select(experiments.c.artifact_location, experiments.c.experiment_id), "{0}"),
        (select(runs.c.artifact_uri, runs.c.experiment_id, runs.c.run_uuid), "{0}/{1}/artifacts"),
        (
            select(models.c.artifact_location, models.c.experiment_id, models.c.model_id),
            "{0}/models/{1}/artifacts",
        ),
    ):
        for place, *words in source.execute(query):
            if local(place) is not None and moved(place, found) == place:
                found[place] = SCHEME + target.format(*words)
    return found


def moved(place: str, known: Mapping[str, str]) -> str:
    """A location after the move; unchanged if it is not moved."""
    head, tail = place, ""
    while head:
        if head in known:
            return known[head] + tail
        head, slash, last = head.rpartition("/")
        tail = slash + last + tail
    return place


def check_source(source: Connection) -> None:
    """Raise unless the source has the tables of the installed MLflow and no run is active."""
    try:
        utils._verify_schema(source.engine)
    except Exception as error:
        raise MigrationError(f"--from: {' '.join(str(error).split())[:300]}") from None
    runs = Base.metadata.tables["runs"]
    going = source.scalar(select(func.count()).select_from(runs).where(runs.c.status == "RUNNING"))
    if going:
        raise MigrationError(
            f"--from: {going} runs are RUNNING; wait for them, or run `sa-mlops doctor --fix`"
        )


def make_tables(place: str) -> None:
    """Do what `mlflow db upgrade` does, in this process: a second one would import MLflow again."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        # The function of the command `mlflow db upgrade`, whose decorator has no type for it.
        mlflow_db.upgrade.callback(place)  # type: ignore[misc]
    except Exception as error:
        raise MigrationError(f"--to: {' '.join(str(error).split())[-300:]}") from None


def check_empty(target: Connection) -> None:
    """Raise unless the target is an empty store."""
    for table in TABLES:
        count = target.scalar(select(func.count()).select_from(table))
        if count and not (table.name in ALWAYS and count == 1):
            raise MigrationError(f"--to: {table.name} has {count} rows; only an empty store is written to")


def rows(source: Connection, table: Table, known: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
    """A table's rows in portions, with locations on the server."""
    columns = LOCATIONS.get(table.name, ())
    for part in source.execution_options(yield_per=ROWS).execute(select(table)).mappings().partitions():
        portion = [dict(row) for row in part]
        for row in portion:
            row |= {name: moved(row[name], known) for name in columns if row[name]}
        yield portion


def copy_rows(source: Connection, target: Connection, known: Mapping[str, str]) -> int:
    """Copy every row of every table, in an order that keeps references valid; returns their number."""
    for name in ALWAYS:
        target.execute(Base.metadata.tables[name].delete())
    copied = 0
    for table in TABLES:
        for portion in rows(source, table, known):
            target.execute(table.insert(), portion)
            copied += len(portion)
        if (counter := table.autoincrement_column) is not None:
            sequence = func.pg_get_serial_sequence(table.name, counter.name)
            newest = select(func.max(counter)).scalar_subquery()
            target.execute(select(func.setval(sequence, newest)).where(newest.is_not(None)))
    return copied


@contextmanager
def copied_files(known: Mapping[str, str], artifacts: Path) -> Iterator[int]:
    """Copy the files on entry and remove them after an error; yields their number."""
    folders = {Path(new.removeprefix(SCHEME)): folder for old, new in known.items() if (folder := local(old))}
    with tempfile.TemporaryDirectory(prefix=".migration-", dir=artifacts) as name:
        fresh = Path(name)
        for place, folder in folders.items():
            if (artifacts / place).exists():
                raise MigrationError(f"--artifacts: {artifacts / place} exists already")
            if folder.is_dir():
                shutil.copytree(folder, fresh / place)
        count = sum(p.is_file() for p in fresh.rglob("*"))
        with ExitStack() as undo:
            for top in fresh.iterdir():
                undo.callback(shutil.rmtree, artifacts / top.name, ignore_errors=True)
                top.rename(artifacts / top.name)
            yield count
            undo.pop_all()


def migrate(source: Engine, target: Engine, artifacts: Path) -> tuple[int, int]:
    """Copy everything; returns the numbers of rows and files.

    Raises
    ------
    MigrationError : if the source is incomplete or the target not empty. After any error the target is unchanged.
    """
    with source.connect() as reader, target.connect() as writer:
        # A consistent snapshot of the source, even if another process writes to it.
        reader.exec_driver_sql("BEGIN")
        check_source(reader)
        check_empty(writer)
        known = moves(reader)
        with copied_files(known, artifacts) as files:
            copied = copy_rows(reader, writer, known)
            writer.commit()
    return copied, files


def main() -> int:
    """Copy one store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", required=True, help="sqlite:///FILE")
    parser.add_argument(
        "--to", dest="target", required=True, help="PostgreSQL, empty; password in PGPASSFILE"
    )
    parser.add_argument("--artifacts", type=Path, required=True, help="the server's artifact folder")
    arguments = parser.parse_args()
    path = Path(arguments.source.removeprefix("sqlite:///"))
    if not arguments.source.startswith("sqlite:///") or not path.is_file():
        parser.error(f"--from: no sqlite file: {arguments.source}")
    if not arguments.target.startswith("postgresql"):
        parser.error("--to: a URL of PostgreSQL")
    if not arguments.artifacts.is_dir():
        parser.error(f"--artifacts: no folder: {arguments.artifacts}")
    source = sqlalchemy.create_engine(f"sqlite:///file:{path.absolute()}?mode=ro&uri=true")
    try:
        make_tables(arguments.target)
        copied, files = migrate(source, sqlalchemy.create_engine(arguments.target), arguments.artifacts)
    except (MigrationError, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        print(f"migrate: {' '.join(str(error).split())[:400]}", file=sys.stderr)
        return 1
    print(f"{copied} rows and {files} files copied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
