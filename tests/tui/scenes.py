"""A store for the UI's tests: real versions and runs, made without training."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from stores import isolate

from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.mlp import MLP
from sa_mlops.registry import names, publish, tracking, versions
from sa_mlops.registry.version import Version

HOSTILE = (
    "[bold red]markup[/] [/nonsense] [link=file:///etc/passwd]x[/link]",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\x1b[?1049h",
    "two\nlines\r\nand\ttabs\x00\x7f\u2028\u202e",
    "emoji 🧠👩‍🔬🏳️‍🌈 e\u0301 宽字符 " + "̍" * 40,
    "long " + "x" * 10_000,
)
"""Names that a store may hold; none of them may reach the terminal as it is."""

BEFORE = {
    "forget.prob": 0.93,
    "forget.entropy": 0.21,
    "retain.accuracy": 0.98,
    "retain.fid": 4.0,
    "retain.recall": 0.9,
}
GOOD = {
    "forget.prob": 0.101,
    "forget.prob_worst": 0.104,
    "screen.prob": 0.12,
    "forget.entropy": 2.301,
    "forget.pixel_variance": 0.001,
    "retain.accuracy": 0.979,
    "retain.fid": 4.1,
    "retain.recall": 0.89,
    "time.forget": 12.5,
} | {f"base.{k}": v for k, v in BEFORE.items()}
DIGITS = {f"base.class.{d}.accuracy": 0.98 for d in range(10)} | {
    f"class.{d}.{key}": value
    for d in range(10)
    for key, value in (("accuracy", 0.979), ("prob", 0.1), ("entropy", 2.302))
}
"""Metrics of each class, as the gates of promotion read them."""
MADE = {names.DATASET: "digits", names.SEED: "0", names.CONFIG: "0" * 12, names.DATA_MD5: "0" * 32}
"""Tags that every stage writes; promotion refuses a version without them."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A store, and what lies in it by the names that tests use."""

    folder: Path
    runs: Mapping[str, str]

    @property
    def uri(self) -> str:
        """Of its own database; the artifacts of copies are the first one's."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def copy(self, folder: Path) -> Scene:
        """The same in a database of its own."""
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        return Scene(folder, self.runs)


def make(folder: Path) -> Scene:
    """Fill a store in `folder`.

    Generators: 1 base; 2 forgets 1; 3 forgets 1 and 8 from there; 4 oracle without the 1; 5 of another project.
    A Fisher diagonal of 1. Runs: `going` forgets from 2 at 40 of 100 steps; `failed`; a study of three trials.
    """
    runs: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        client = tracking.connect()
        base = _generator(client, runs, "base", {names.STAGE: "base"}, {"base.test_nelbo": 101.5, **BEFORE})
        second = _generator(
            client, runs, "forget 1",
            {names.STAGE: "forget", names.PARENT: base.uri, names.FORGOTTEN: "1"}, GOOD | DIGITS,
        )  # fmt: skip
        with _run("forget 8", "forget") as run_id:
            runs["forget 8"] = run_id
            tags = {**MADE, names.STAGE: "forget", names.PARENT: second.uri, names.FORGOTTEN: "1,8"}
            worse = GOOD | {"forget.prob": 0.4, "forget.prob_worst": 0.4, "retain.accuracy": 0.95}
            mlflow.log_metrics(worse)
            _register(client, second, run_id, tags, "forgets the 8 as well")
        with _run("oracle 1", "oracle") as run_id:
            mlflow.log_metrics({"forget.prob": 0.1, "retain.accuracy": 0.98})
            _register(client, base, run_id, {names.STAGE: "oracle", names.FORGOTTEN: "1"}, "")
        with _run("foreign", "") as run_id:
            mlflow.log_metric("accuracy", 0.5)
            _register(client, base, run_id, {"owner": "somebody", "sa.forgotten": "a,7,99"}, "not ours")
        with _run("Fisher of v1", "fim") as run_id:
            mlflow.log_metric("fisher.trace", 12.0)
            versions.register(
                client, names.FISHERS, model_id=str(base.model_id), run_id=run_id,
                tags={names.STAGE: "fim", names.PARENT: base.uri}, description="",
            )  # fmt: skip
        client.set_registered_model_alias(names.GENERATORS, names.BASE_ALIAS, "1")
        _study(client, runs)
        runs["going"] = going(client, second)
        runs["failed"] = _failed(client)
    return Scene(folder, runs)


def going(client: MlflowClient, start: Version, done: int = 40) -> str:
    """A run that forgets from `start` and has done so many of its 100 steps."""
    tags = {names.STAGE: "forget", names.STEPS: "100", "sa.entry": "forget", "mlflow.runName": "forget 3"}
    run = client.create_run(_experiment(client), tags=tags)
    curves = [Metric(k, 1000 / (1 + s), 0, s) for s in range(0, done + 1, 5) for k in ("train.forget",)]
    client.log_batch(
        run.info.run_id,
        metrics=[*curves, Metric("train.replay", 90.0, 0, done), Metric("progress.step", done, 0, done)],
        params=[Param("start", start.uri), Param("digit", "3"), Param("from_version", str(start.number))],
    )
    return str(run.info.run_id)


def hostile(client: MlflowClient) -> None:
    """Versions, runs, tags, parameters and aliases with names that mean harm."""
    first = versions.get(client, names.GENERATORS, 1)
    for i, word in enumerate(HOSTILE):
        run = client.create_run(_experiment(client), tags={"mlflow.runName": word, "sa.stage": word[:4000]})
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("train.forget", 1.0, 0, 0)],
            params=[Param(f"odd{i}", word[:5000])],
            tags=[RunTag("sa.error", word[:4000]), RunTag("sa.steps", word[:4000])],
        )
        client.set_terminated(run.info.run_id, "FAILED")
        tags = {"sa.stage": word[:4000], "sa.parent": word[:4000], f"odd.{i}": word[:4000]}
        _register(client, first, run.info.run_id, tags, word)


def many(client: MlflowClient, count: int, runs: int, folder: Path) -> None:
    """Put so many versions and runs into a store, below MLflow, whose own way takes minutes."""
    first = versions.get(client, names.GENERATORS, 1)
    template = client.get_run(first.run_id)
    with sqlite3.connect(folder / "mlflow.db") as db:
        cells = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        run = dict(
            zip(
                cells,
                db.execute("SELECT * FROM runs WHERE run_uuid = ?", (first.run_id,)).fetchone(),
                strict=True,
            )
        )
        ids = [f"{i:032x}" for i in range(1, runs + 1)]
        places = ",".join("?" * len(cells))
        rows = [tuple((run | {"run_uuid": key, "name": f"run {i}", "start_time": run["start_time"] - i}).values())
                for i, key in enumerate(ids)]  # fmt: skip
        db.executemany(f"INSERT INTO runs VALUES ({places})", rows)
        metrics = [row[1] for row in db.execute("PRAGMA table_info(latest_metrics)")]
        values = [
            tuple(
                {"key": k, "value": v, "timestamp": 0, "step": 0, "is_nan": 0, "run_uuid": key}[c]
                for c in metrics
            )
            for key in ids
            for k, v in template.data.metrics.items()
        ]
        db.executemany(f"INSERT INTO latest_metrics VALUES ({','.join('?' * len(metrics))})", values)
        columns = [row[1] for row in db.execute("PRAGMA table_info(model_versions)")]
        found = db.execute("SELECT * FROM model_versions WHERE name = ? AND version = 1", (names.GENERATORS,))
        version = dict(zip(columns, found.fetchone(), strict=True))
        start = int(db.execute("SELECT max(version) FROM model_versions").fetchone()[0]) + 1
        numbers = range(start, start + count)
        places = ",".join("?" * len(columns))
        db.executemany(
            f"INSERT INTO model_versions VALUES ({places})",
            [tuple((version | {"version": n, "run_id": ids[n % runs]}).values()) for n in numbers],
        )
        layout = db.execute("PRAGMA table_info(model_version_tags)").fetchall()
        tags = [row[1] for row in layout]
        fixed = {row[1]: row[4] for row in layout} | {"workspace": version.get("workspace")}
        said = [
            {**fixed, "name": names.GENERATORS, "version": n, "key": k, "value": v}
            for n in numbers
            for k, v in (
                ("sa.stage", "forget"),
                ("sa.parent", f"models:/sa-cvae/{1 + n % 50}"),
                ("sa.forgotten", "1"),
            )
        ]
        db.executemany(
            f"INSERT INTO model_version_tags VALUES ({','.join('?' * len(tags))})",
            [tuple(row[c] for c in tags) for row in said],
        )


def _generator(
    client: MlflowClient,
    runs: dict[str, str],
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> Version:
    with _run(name, tags[names.STAGE]) as run_id:
        runs[name] = run_id
        recorder = tracking.Recorder(client, run_id)
        recorder.series({"train.forget": [(s, 0, 100.0 / (1 + s)) for s in range(20)]})
        return publish.publish_generator(
            client, recorder, MLP(SPEC, 8), tags=MADE | tags, description=name, metrics=metrics, params={}
        )


@contextmanager
def _run(name: str, stage: str) -> Iterator[str]:
    with tracking.open_run(name, nested=False, tags={names.STAGE: stage} if stage else {}) as run_id:
        yield run_id


def _register(
    client: MlflowClient, files: Version, run_id: str, tags: Mapping[str, str], text: str
) -> Version:
    """Another version over the files of one that is there."""
    return versions.register(
        client, names.GENERATORS, model_id=str(files.model_id), run_id=run_id, tags=tags, description=text
    )


def _experiment(client: MlflowClient) -> str:
    return str(client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id)


def _study(client: MlflowClient, runs: dict[str, str]) -> None:
    tags = {names.STAGE: "tune", "sa.entry": "tune", "sa.study": "small", "mlflow.runName": "tune"}
    parent = client.create_run(_experiment(client), tags=tags).info.run_id
    runs["tune"] = parent
    for i, (gap, kept) in enumerate(((0.30, 0.99), (0.10, 0.97), (0.20, 0.90))):
        run = client.create_run(
            _experiment(client),
            tags={
                "mlflow.parentRunId": parent, "mlflow.runName": f"trial {i}", names.STAGE: "trial",
                "sa.study": "small", "sa.trial": str(i),
            },
        )  # fmt: skip
        found = [Metric("objective.gap", gap, 0, 0), Metric("objective.retention", kept, 0, 0)]
        client.log_batch(run.info.run_id, metrics=found, params=[Param("ewc_lambda", str(10.0**i))])
        client.set_terminated(run.info.run_id)
        runs[f"trial {i}"] = run.info.run_id
    client.set_terminated(parent)


def _failed(client: MlflowClient) -> str:
    tags = {
        names.STAGE: "forget",
        "sa.error": "a term is not finite at step 12: loss",
        "mlflow.runName": "broken",
    }
    run = client.create_run(_experiment(client), tags=tags)
    client.set_terminated(run.info.run_id, "FAILED")
    return str(run.info.run_id)
