"""What must hold before MLflow opens a store: nothing that only looks changes it, and a moved one is recognised."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils
from stores import Store

from sa_mlops import cli
from sa_mlops.registry import stores, tracking, versions, weights
from sa_mlops.registry.stores import StoreError

LOOKS = [("doctor",), ("sample", "1"), ("report", "1"), ("promote", "1"), ("reproduce", "1")]
pytestmark = pytest.mark.integration


def change(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.folder / "mlflow.db")) as db, db:
        for statement in statements:
            db.execute(statement)


def digest(store: Store) -> str:
    return hashlib.sha256((store.folder / "mlflow.db").read_bytes()).hexdigest()


class TestAnOlderMlflow:
    @pytest.fixture
    def old(self, own_store: Store) -> Store:
        """The shared lineage without the tables that came last."""
        change(own_store, "DROP TABLE webhook_events", "DROP TABLE webhooks")
        return own_store

    @pytest.mark.parametrize("words", [*LOOKS, ("base", "--dataset", "digits", "--steps", "1")])
    def test_nothing_changes_its_store_and_the_command_that_migrates_is_named(
        self, old: Store, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        before = digest(old)
        assert cli.main(words) == 1
        said = "".join(capfd.readouterr())
        assert "older MLflow" in said
        assert f"`mlflow db upgrade {old.uri}`" in said
        assert digest(old) == before

    def test_the_terminal_ui_says_so_too(self, old: Store) -> None:
        from tui.services.store import Store as Shown

        before = digest(old)
        with pytest.raises(StoreError, match="older MLflow"):
            _ = Shown(old.uri).client
        assert digest(old) == before

    def test_a_store_whose_creation_was_interrupted_is_completed(self, empty_store: Store) -> None:
        change(empty_store, "DROP TABLE webhook_events", "DROP TABLE webhooks")
        tracking.connect()


class TestAMovedStore:
    @pytest.fixture
    def moved(self, digits_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        """The shared lineage with its artifacts in another folder, of an odd name."""
        folder = tmp_path / "my prójects 100% #1 o'b"
        shutil.copytree(digits_store.folder, folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", Store(folder).uri)
        return Store(folder)

    @pytest.mark.parametrize("words", [("sample", "1"), ("evaluate", "--dataset", "digits")])
    def test_is_refused_with_the_command_that_corrects_it(
        self, moved: Store, digits_store: Store, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        assert cli.main(words) == 1
        said = capfd.readouterr().err
        assert f"its artifacts were in {digits_store.folder}" in said
        assert "`sa-mlops doctor --fix`" in said

    def test_after_doctor_fix_every_file_is_found_beside_it(
        self, moved: Store, digits_store: Store, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["doctor"]) == 1
        assert cli.main(["doctor", "--fix"]) == 0
        assert "fixed  store" in capfd.readouterr().out
        client = MlflowClient()
        for version in versions.all_versions(client, "sa-cvae"):
            assert versions.files(version).is_relative_to(moved.folder)
        with closing(sqlite3.connect(moved.folder / "mlflow.db")) as db:
            for table, column in stores.PLACES:
                places = {str(row[0]) for row in db.execute(f"SELECT {column} FROM {table}")}
                assert not any(place.startswith(str(digits_store.folder)) for place in places)

    def test_a_store_reached_through_a_link_is_not_moved(self, digits_store: Store, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(digits_store.folder)
        assert stores.moved_from(tmp_path / "link" / "mlflow.db") is None


class TestTheRunInTheEnvironment:
    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    def test_one_that_has_ended_is_refused_and_left_as_it_was(
        self,
        empty_store: Store,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        status: str,
    ) -> None:
        client = MlflowClient()
        run = client.create_run("0", run_name="mine")
        client.set_terminated(run.info.run_id, status)
        monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
        assert cli.main(["base", "--dataset", "digits", "--steps", "1"]) == 1
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert f"MLFLOW_RUN_ID {run.info.run_id} is a {status} run that another command opened" in said
        after = client.get_run(run.info.run_id)
        assert (after.info.status, after.data.params) == (status, {})

    def test_one_that_is_not_there_is_refused(
        self, empty_store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
        assert cli.main(["base", "--dataset", "digits", "--steps", "1"]) == 1
        assert "is no run of this store; unset the variable" in capfd.readouterr().err

    def test_an_empty_one_is_unset(self, empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_RUN_ID", "")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
        assert cli.main(["lineage"]) == 0
        with tracking.open_run("any", nested=False, tags={}) as run_id:
            experiment = MlflowClient().get_experiment(MlflowClient().get_run(run_id).info.experiment_id)
        assert experiment.name == tracking.EXPERIMENT


class TestPermissions:
    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
    def test_weights_have_the_umasks(self, tmp_path: Path, umask: int, mode: int) -> None:
        before = os.umask(umask)
        try:
            weights.save(tmp_path, {}, {})
        finally:
            os.umask(before)
        assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {mode}

    def test_files_that_may_not_be_read_are_named_as_that(
        self, digits_store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        # pytest's own folders are closed to other users.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "store"
            shutil.copytree(digits_store.folder, folder)
            stores.correct_places(folder / "mlflow.db")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", Store(folder).uri)
            monkeypatch.chdir(folder)
            # By the id of a logged model alone, MLflow remembers where the store that was copied has its files.
            monkeypatch.setattr(utils, "_artifact_repos_cache", OrderedDict())
            for path in (Path(name), folder, folder / "mlflow.db", folder / "mlflow.db.lock"):
                path.chmod(0o777)
            weights_of_one = (
                versions.files(versions.get(MlflowClient(), "sa-cvae", 1)) / "artifacts" / weights.WEIGHTS
            )
            # Modules are imported before the files of the interpreter may be closed to this process.
            assert [cli.main(["doctor"]), cli.main(["sample", "1"])] == [0, 0]
            capfd.readouterr()
            weights_of_one.chmod(0)
            with unprivileged():
                assert cli.main(["doctor"]) == 1
                found = capfd.readouterr().out
                assert cli.main(["sample", "1"]) == 1
                said = capfd.readouterr().err
        assert re.search(r"models:/sa-cvae/1: cannot be read \(.*Permission denied", found)
        assert "chmod -R a+rX" in found
        assert "Permission denied" in said
        assert "lost its files" not in found + said


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions hold back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)
