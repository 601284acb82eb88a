"""Stores with many registered versions, made from one real one by copying its rows."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.bench import store_uri

FIELDS = 80
"""Metrics of a run, about as many as `forget` logs."""


def populate(folder: Path, count: int) -> None:
    """`count` versions of `sa-cvae` in a new store in `folder`: a base, and forgetting steps as a tree below it.

    The first version is registered as any other, with a run and a logged model; the rest share its files.
    """
    import mlflow
    from mlflow.tracking import MlflowClient

    from sa_mlops.registry import names, versions
    from sa_mlops.registry.tracking import Recorder, connect, open_run

    client: MlflowClient = connect()
    with open_run("base", nested=False, tags={names.STAGE: "base"}) as run_id:
        recorder = Recorder(client, run_id)
        recorder.metrics(
            {"base.test_nelbo": 97.0, "retain.accuracy": 0.95, "forget.prob": 0.1, "forget.entropy": 2.3}
        )
        recorder.metrics({f"class.{i}.value": i for i in range(FIELDS - 4)})
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="generator", source_run_id=run_id)
        file = folder / "weights.txt"
        file.write_text("of no use")
        client.log_model_artifact(model.model_id, str(file), "weights.txt")
        client.finalize_logged_model(model.model_id, "READY")
        recorder.made(model.model_id)
    tags = {
        names.STAGE: "base", names.FORGOTTEN: "", names.DATASET: "digits", names.DATA_MD5: "0" * 32, names.SEED: "0",
        names.CONFIG: "0" * 12, names.GIT_COMMIT: "0" * 40, names.PARENT: "", names.FIM: "",
    }  # fmt: skip
    versions.register(
        client, names.GENERATORS, model_id=model.model_id, run_id=run_id, tags=tags, description="A base."
    )
    client.set_registered_model_alias(names.GENERATORS, names.BASE_ALIAS, "1")
    assert mlflow.get_tracking_uri() == store_uri(folder)
    with sqlite3.connect(folder / "mlflow.db") as database:
        _copy(database, run_id, count)


def _copy(database: sqlite3.Connection, run_id: str, count: int) -> None:
    from sa_mlops.registry import names

    database.row_factory = sqlite3.Row
    made = {number: uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex for number in range(2, count + 1)}

    def run(row: dict[str, Any], number: int) -> dict[str, Any]:
        return row | {"run_uuid": made[number]}

    def named(row: dict[str, Any], number: int) -> dict[str, Any]:
        return run(row, number) | {"name": f"forget {number}"}

    def version(row: dict[str, Any], number: int) -> dict[str, Any]:
        return row | {"version": number, "run_id": made[number]}

    def tag(row: dict[str, Any], number: int) -> dict[str, Any]:
        changed = {
            names.STAGE: "forget",
            names.FORGOTTEN: str(number % 10),
            names.PARENT: names.version_uri(names.GENERATORS, number // 2),
            names.CONFIG: made[number][:12],
        }
        return row | {"version": number, "value": changed.get(row["key"], row["value"])}

    by_run, by_version = f"run_uuid = '{run_id}'", "version = 1"
    for table, where, change in (
        ("runs", by_run, named),
        ("tags", by_run, run),
        ("latest_metrics", by_run, run),
        ("metrics", by_run, run),
        ("model_versions", by_version, version),
        ("model_version_tags", by_version, tag),
    ):
        _insert(database, table, where, change, made)


def _insert(
    database: sqlite3.Connection,
    table: str,
    where: str,
    change: Callable[[dict[str, Any], int], dict[str, Any]],
    numbers: Iterable[int],
) -> None:
    rows = [dict(row) for row in database.execute(f"SELECT * FROM {table} WHERE {where}")]  # noqa: S608 (all of it is ours)
    columns = list(rows[0])
    marks = ", ".join(f":{c}" for c in columns)
    database.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
        (change(row, number) for number in numbers for row in rows),
    )
