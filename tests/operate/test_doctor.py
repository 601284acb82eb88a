"""Findings of `doctor` on damaged stores, and its repairs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import Store, forget_places

from sa_mlops import cli
from sa_mlops.operate import doctor
from sa_mlops.registry import names, processes, stores

pytestmark = pytest.mark.integration

GONE = {processes.PID: "999999999"}


def found(area: str, level: str, *, fix: bool = False) -> list[str]:
    document = doctor.examine(fix).document
    return [f["found"] for f in document["findings"] if (f["area"], f["level"]) == (area, level)]


def orphan(**tags: str) -> str:
    client = MlflowClient()
    experiment = client.create_experiment("orphans")
    run = client.create_run(experiment, tags=processes.identity() | tags)
    return str(run.info.run_id)


def status(run_id: str) -> str:
    return str(MlflowClient().get_run(run_id).info.status)


def test_a_sound_store_is_healthy(shared_store: Store) -> None:
    result = doctor.examine()
    assert result.passed, result.text
    assert result.document["wrong"] == 0


def test_no_store_is_no_fault_and_none_is_made(tmp_path: Path) -> None:
    assert "does not exist yet" in found("store", "note")[0]
    assert not (tmp_path / "mlflow.db").exists()


def test_a_file_that_is_no_database_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    assert "not a database" in found("store", "wrong")[0]


def test_tables_of_another_mlflow_come_with_the_command_that_upgrades_them(own_store: Store) -> None:
    with sqlite3.connect(own_store.folder / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    (wrong,) = [f for f in doctor.examine().document["findings"] if f["level"] == "wrong"]
    assert "mlflow db upgrade" in wrong["advice"]


def test_a_run_of_a_process_that_is_gone_is_wrong(own_store: Store) -> None:
    run_id = orphan(**GONE)
    assert run_id in found("runs", "wrong")[0]
    assert status(run_id) == "RUNNING"


def test_fix_ends_an_orphan_as_killed(own_store: Store) -> None:
    run_id = orphan(**GONE)
    result = doctor.examine(fix=True)
    assert status(run_id) == "KILLED"
    assert result.passed
    assert doctor.examine().passed


def test_fix_leaves_a_run_whose_process_lives(own_store: Store) -> None:
    run_id = orphan()
    doctor.examine(fix=True)
    assert status(run_id) == "RUNNING"


def test_fix_leaves_a_run_of_another_machine(own_store: Store) -> None:
    run_id = orphan(**GONE, **{processes.HOST: "node7"})
    assert doctor.examine(fix=True).passed
    assert status(run_id) == "RUNNING"


def test_a_link_to_a_version_that_is_not_there_is_wrong(own_store: Store) -> None:
    client = MlflowClient()
    client.set_model_version_tag(names.GENERATORS, "2", names.PARENT, "models:/sa-cvae/77")
    assert "models:/sa-cvae/77" in found("versions", "wrong")[0]


@pytest.mark.parametrize("value", ["models:/sa-judge/1", "../../etc", "models:/sa-cvae/2"])
def test_a_parent_that_can_be_none_is_wrong(own_store: Store, value: str) -> None:
    MlflowClient().set_model_version_tag(names.GENERATORS, "2", names.PARENT, value)
    assert value in found("versions", "wrong")[0]


def test_a_version_whose_files_are_gone_is_wrong(own_store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(own_store.folder / "mlflow.db") as database:
        database.execute("UPDATE logged_models SET artifact_location = ?", (str(tmp_path / "elsewhere"),))
    forget_places()
    wrong = found("versions", "wrong")
    assert len(wrong) == len(MlflowClient().search_model_versions())
    assert all("missing or empty" in line for line in wrong)


def test_a_version_from_a_path_is_wrong(own_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    with sqlite3.connect(own_store.folder / "mlflow.db") as database:
        database.execute(
            "UPDATE model_versions SET source = ? WHERE name = 'sa-cvae' AND version = 2", (str(folder),)
        )
    assert "sa-cvae/2" in found("versions", "wrong")[0]


def test_a_model_that_was_never_finished_is_wrong_and_fix_ends_it(own_store: Store) -> None:
    client = MlflowClient()
    experiment = client.create_experiment("half")
    model = client.create_logged_model(experiment, name="generator")
    assert model.model_id in found("models", "wrong")[0]
    doctor.examine(fix=True)
    assert str(client.get_logged_model(model.model_id).status) == "FAILED"
    assert doctor.examine().passed


def test_a_model_of_a_run_at_work_is_left_alone(own_store: Store) -> None:
    client = MlflowClient()
    experiment = client.create_experiment("half")
    run = client.create_run(experiment, tags=processes.identity())
    client.create_logged_model(experiment, name="generator", source_run_id=run.info.run_id)
    assert found("models", "wrong", fix=True) == []


def test_altered_data_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sa_mlops.datasets import pin as data

    root = data.project_root()
    if not (root / "data").is_dir():
        pytest.skip("data is not pulled")
    for name in (data.PIN, "MLproject"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / ".dvc" / "bundled", tmp_path / ".dvc" / "bundled")
    shutil.copytree(root / "data", tmp_path / "data")
    labels = tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.chmod(0o644)
    with labels.open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\x01")
    assert labels.name in found("data", "wrong")[0]


def test_data_that_was_not_pulled_is_not_pulled(tmp_path: Path) -> None:
    from sa_mlops.datasets import pin as data

    root = data.project_root()
    for name in (data.PIN, "MLproject"):
        shutil.copy(root / name, tmp_path / name)
    assert "not pulled yet" in found("data", "note")[0]
    assert not (tmp_path / "data").exists()


def test_data_of_the_users_own_is_checked_also_before_mnist_is_pulled(tmp_path: Path) -> None:
    from sa_mlops.datasets import pin as data

    root = data.project_root()
    for name in (data.PIN, "MLproject"):
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.dvc").write_text("cut off")
    assert "datasets/mine.dvc cannot be read" in found("data", "wrong")[0]


def test_the_command_fails_on_an_orphan_and_names_the_repair(
    own_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = orphan(**GONE)
    assert cli.main(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is False
    assert any(run_id in f["found"] and "--fix" in f["advice"] for f in document["findings"])
    assert cli.main(["doctor", "--fix"]) == 0


def test_a_server_that_does_not_answer_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PATIENCE", 0.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"]
    assert found("store", "wrong")
