"""A local store in PostgreSQL: the same versions, all of them usable, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import BRIEF, FORGET, Run, Store, migrate

from scripts.invariants import state
from scripts.serving import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def files(server: Server) -> list[Path]:
    return list((server.folder / "artifacts").iterdir())


def test_an_attempt_that_fails_leaves_nothing(refused: Server) -> None:
    client = MlflowClient(refused.url)
    assert client.search_registered_models() == []
    assert [e.name for e in client.search_experiments()] == ["Default"]
    assert files(refused) == []


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
    done = sa_mlops("reproduce", "sa-fim/1", "--json", MLFLOW_TRACKING_URI=server.url)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_next_version_is_made_from_those_that_came_along(server: Server, python: Run) -> None:
    client = MlflowClient(server.url)
    before = {(v.name, v.version) for v in client.search_model_versions()}
    done = python(BRIEF, *FORGET, "--steps", "10", MLFLOW_TRACKING_URI=server.url)
    assert done.returncode == 0, done.stderr
    made = {(v.name, v.version) for v in client.search_model_versions()} - before
    assert made == {("sa-cvae", str(max(int(n) for m, n in before if m == "sa-cvae") + 1))}
