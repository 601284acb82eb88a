"""A local store in PostgreSQL: the same versions, all of them usable, or nothing at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import FORGET, Run, Store, migrate

from scripts.invariants import state
from scripts.serving import Server, missing, serve

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def files(server: Server) -> list[Path]:
    return list((server.folder / "artifacts").iterdir())


@pytest.fixture(scope="module")
def empty() -> Iterator[Server]:
    if reason := missing():
        pytest.skip(reason)
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def refused(digits_store: Store, empty: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The server after an attempt that failed in the middle: PostgreSQL keeps no NUL in a text."""
    store = digits_store.copy(tmp_path_factory.mktemp("nul"))
    with closing(sqlite3.connect(store.folder / "mlflow.db")) as database, database:
        database.execute("UPDATE model_version_tags SET value = 'a' || char(0) WHERE key = 'sa.stage'")
    done = migrate(store, empty)
    assert done.returncode == 1, done.stdout
    assert "NUL" in done.stderr
    return empty


def test_an_attempt_that_fails_leaves_nothing(refused: Server) -> None:
    client = MlflowClient(refused.url)
    assert client.search_registered_models() == []
    assert [e.name for e in client.search_experiments()] == ["Default"]
    assert files(refused) == []


@pytest.fixture(scope="module")
def server(digits_store: Store, refused: Server) -> Server:
    """The server with the shared lineage."""
    done = migrate(digits_store, refused)
    assert done.returncode == 0, done.stderr
    return refused


def test_lineage_is_the_same(digits_store: Store, server: Server, sa_mlops: Run) -> None:
    before, after = (
        json.loads(sa_mlops("lineage", "--json", MLFLOW_TRACKING_URI=uri).stdout)
        for uri in (digits_store.uri, server.url)
    )
    assert after == before


def test_every_version_is_whole(digits_store: Store, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", digits_store.uri)
    before = state()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    after = state()
    assert after["broken"] == []
    assert after == before


def test_a_second_time_is_refused(digits_store: Store, server: Server) -> None:
    there = files(server)
    done = migrate(digits_store, server)
    assert done.returncode == 1
    assert "only an empty store is written to" in done.stderr
    assert files(server) == there


def test_doctor_finds_nothing_wrong(server: Server, sa_mlops: Run) -> None:
    done = sa_mlops("doctor", MLFLOW_TRACKING_URI=server.url)
    assert done.returncode == 0, done.stdout


def test_a_version_is_sampled_from_there_and_leaves_no_copy_behind(
    server: Server, sa_mlops: Run, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    out = tmp_path / "samples.png"
    done = sa_mlops("sample", "2", "--out", str(out), MLFLOW_TRACKING_URI=server.url, TMPDIR=str(scratch))
    assert done.returncode == 0, done.stderr
    assert out.exists()
    assert list(scratch.iterdir()) == []


def test_a_version_is_reproduced_from_there(server: Server, sa_mlops: Run) -> None:
    done = sa_mlops("reproduce", "2", "--json", MLFLOW_TRACKING_URI=server.url)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_next_version_is_made_from_those_that_came_along(server: Server, sa_mlops: Run) -> None:
    client = MlflowClient(server.url)
    before = {(v.name, v.version) for v in client.search_model_versions()}
    words = [*FORGET, "--ewc-lambda", "7"]
    done = sa_mlops(*words, MLFLOW_TRACKING_URI=server.url)
    assert done.returncode == 0, done.stderr
    made = {(v.name, v.version) for v in client.search_model_versions()} - before
    assert made == {("sa-cvae", str(max(int(n) for m, n in before if m == "sa-cvae") + 1))}
