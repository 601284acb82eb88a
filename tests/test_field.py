"""Stores, files and environments as others leave them: one line that says what is wrong, and nothing half done."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from optuna.storages.journal import JournalFileBackend
from stores import ROOT, Store, child_environment

from sa_mlops import cli
from sa_mlops.errors import CommandError
from sa_mlops.operate import doctor, look, report
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import gates, log, names, stores, tracking, versions
from sa_mlops.registry.stores import StoreError
from sa_mlops.tuning.storage import StudyError, open_storage

pytestmark = pytest.mark.integration

Captured = pytest.CaptureFixture[str]
HOSTILE = "\x1b[31m\a\nx <script>alert(1)</script> ![](http://127.0.0.1:9/x.png)"


def said(captured: Captured, *words: str, status: int = 1) -> str:
    """What a failing command says: one line."""
    captured.readouterr()
    assert cli.main(words) == status
    error = captured.readouterr().err
    assert error.count("\n") == 1, error
    return error


def wrong() -> str:
    return "\n".join(f["found"] for f in doctor.examine().document["findings"] if f["level"] == "wrong")


@pytest.fixture
def limits(tmp_path: Path) -> str:
    path = tmp_path / "gates.json"
    path.write_text(
        '{"retain_accuracy_drop": 0.3, "retain_class_drop": 0.4, "retain_fid_rise": 100, "retain_recall_share": 0.5}'
    )
    return str(path)


class TestStore:
    def test_a_server_that_is_down_is_told_within_the_patience(
        self, monkeypatch: pytest.MonkeyPatch, capsys: Captured
    ) -> None:
        monkeypatch.setattr(stores, "PATIENCE", 0.0)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert "start the server" in said(capsys, "lineage")

    @pytest.mark.parametrize("other", ["http://127.0.0.1:9", "databricks-uc", "nonsense://x"])
    def test_a_registry_that_cannot_be_used_is_named_by_its_variable(
        self, shared_store: Store, monkeypatch: pytest.MonkeyPatch, other: str
    ) -> None:
        monkeypatch.setattr(stores, "PATIENCE", 0.0)
        monkeypatch.setenv(stores.REGISTRY, other)
        with pytest.raises(StoreError, match=stores.REGISTRY):
            tracking.connect()

    def test_a_folder_comes_with_the_command_that_migrates_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
        with pytest.raises(StoreError, match=f"migrate-filestore --source {tmp_path}/mlruns"):
            tracking.connect()

    def test_a_missing_driver_comes_with_the_command_that_installs_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://nobody@127.0.0.1:9/none")
        with pytest.raises(StoreError, match="pip install 'psycopg"):
            tracking.connect()

    def test_tables_of_a_newer_mlflow_are_named_as_that(self, own_store: Store, capsys: Captured) -> None:
        with sqlite3.connect(own_store.folder / "mlflow.db") as database:
            database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        assert "a newer MLflow" in said(capsys, "sample")

    @pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
    def test_a_store_that_may_not_be_written_is_read(self, own_store: Store, tmp_path: Path) -> None:
        for folder in [tmp_path, *tmp_path.parents]:
            if "pytest-of-" in str(folder):
                folder.chmod(0o755)
        program = (
            "import os; from sa_mlops import cli; import sa_mlops.operate.tree;"
            "from sa_mlops.registry import tracking; tracking.connect().search_experiments();"
            "os.setuid(65534); print('read', cli.main(['lineage']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240,
            env=child_environment(HOME=str(tmp_path), MLFLOW_TRACKING_URI=own_store.uri),
        )  # fmt: skip
        assert "read 0" in done.stdout, done.stderr

    def test_a_deleted_experiment_comes_with_the_command_that_restores_it(self, empty_store: Store) -> None:
        client = MlflowClient()
        client.delete_experiment(client.create_experiment(tracking.EXPERIMENT))
        with (
            pytest.raises(StoreError, match="experiments restore"),
            tracking.open_run("x", nested=False, tags={}),
        ):
            pass


class TestVersions:
    @pytest.mark.parametrize(
        ("tag", "value"),
        [
            (names.STAGE, ""),
            (names.STAGE, "base"),
            (names.SEED, "seven"),
            (names.CONFIG, "?"),
            (names.FORGOTTEN, "0,1,2,3,4,5,6,7,8,9"),
            (names.FORGOTTEN, "1,eleven"),
        ],
    )
    def test_an_edited_tag_is_named_and_not_promoted(
        self, own_store: Store, capsys: Captured, limits: str, tag: str, value: str
    ) -> None:
        MlflowClient().set_model_version_tag(names.GENERATORS, "2", tag, value)
        assert tag in said(capsys, "promote", "2", "--gates", limits)
        assert f"models:/sa-cvae/2: {tag}" in wrong()

    def test_the_alias_of_the_base_on_another_version_is_named(self, own_store: Store) -> None:
        MlflowClient().set_registered_model_alias(names.GENERATORS, names.BASE_ALIAS, "2")
        assert "the alias base points at models:/sa-cvae/2" in wrong()

    def test_a_version_without_weights_is_not_promoted(
        self, own_store: Store, capsys: Captured, limits: str
    ) -> None:
        version = versions.get(MlflowClient(), names.GENERATORS, 2)
        MlflowClient().delete_logged_model(version.model_id)
        assert "models:/sa-cvae/2" in said(capsys, "promote", "2", "--gates", limits)

    def test_a_version_whose_run_was_collected_is_not_promoted(
        self, own_store: Store, capsys: Captured, limits: str
    ) -> None:
        version = versions.get(MlflowClient(), names.GENERATORS, 2)
        with sqlite3.connect(own_store.folder / "mlflow.db") as database:
            database.execute("DELETE FROM runs WHERE run_uuid = ?", (version.run_id,))
        assert "its run was deleted" in said(capsys, "promote", "2", "--gates", limits)

    def test_a_renamed_model_comes_with_the_command_that_names_it_back(
        self, own_store: Store, capsys: Captured
    ) -> None:
        MlflowClient().rename_registered_model(names.GENERATORS, "mine")
        assert "rename_registered_model('mine', 'sa-cvae')" in said(capsys, "sample", "2", status=2)
        assert "'mine' has versions of this project" in wrong()

    def test_a_record_of_an_alias_without_a_number_is_noted(self, own_store: Store) -> None:
        text = '{"alias": "champion", "from": null, "to": Infinity, "at": 1}'
        MlflowClient().set_registered_model_tag(names.GENERATORS, f"{log.EVENT}1", text)
        assert cli.main(["lineage"]) == 0
        notes = [f["found"] for f in doctor.examine().document["findings"] if f["level"] == "note"]
        assert any(log.EVENT in note for note in notes)

    def test_text_of_others_is_cleaned_on_every_output(
        self, own_store: Store, tmp_path: Path, capsys: Captured
    ) -> None:
        client = MlflowClient()
        for tag in (names.METHOD, names.DATASET, names.GIT_COMMIT):
            client.set_model_version_tag(names.GENERATORS, "2", tag, HOSTILE)
        client.set_tag(versions.get(client, names.GENERATORS, 2).run_id, "mlflow.runName", HOSTILE)
        assert cli.main(["sample", "2", "--rows", "1", "--out", "x.png"]) == 0
        assert cli.main(["report", "2", "--out", "written"]) == 0
        doctor.examine()
        shown = capsys.readouterr().out
        pages = [(tmp_path / "written" / f"report.{kind}").read_text() for kind in ("html", "md")]
        for text in (shown, *pages):
            assert "\x1b[31m" not in text
            assert "\a" not in text
        assert not any("<script" in page for page in pages)
        assert "src='http" not in pages[0]
        assert "![](http" not in pages[1]
        assert "![](http" not in client.get_model_version(names.GENERATORS, "2").description

    @pytest.mark.parametrize(
        "write",
        [
            lambda path: report._write_whole(path, "x" * 10_000),
            lambda path: look.write_png(np.random.default_rng(0).random((90, 90), np.float32), path),
        ],
    )
    def test_a_full_disk_leaves_the_file_that_was_there(
        self, tmp_path: Path, write: Callable[[Path], None]
    ) -> None:
        path = tmp_path / "report.md"
        path.write_text("old")
        path.with_name(f".report.md.{os.getpid()}.part").symlink_to("/dev/full")
        with pytest.raises((CommandError, ParameterError), match="No space left"):
            write(path)
        assert [p.name for p in tmp_path.iterdir()] == ["report.md"]
        assert path.read_text() == "old"


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ('{"steps": 40, "steps": 50}', "the key 'steps' appears twice"),
            ('{"stepz": 40}', "the key 'stepz' is none of"),
            ('{"steps": "40"}', "steps is the text '40'; give a whole number"),
            ('{"steps": 40', "line 1 is not JSON"),
            ("[1]", "a JSON object"),
            (None, "No such file"),
        ],
    )
    def test_settings_that_cannot_be_used_are_named(
        self, tmp_path: Path, capsys: Captured, content: str | None, reason: str
    ) -> None:
        if content is not None:
            (tmp_path / "s.json").write_text(content)
        assert reason in said(capsys, "forget", "--dataset", "digits", "--settings", "s.json", status=2)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ('{"forget_prob": 1, "forget_prob": 2}', "appears twice"),
            ('{"forget_prob": "1"}', "forget_prob is the text '1'; give a number"),
            ('{"forget_prob": NaN}', "forget_prob is nan"),
        ],
    )
    def test_gates_that_cannot_be_used_are_named(
        self, tmp_path: Path, capsys: Captured, content: str, reason: str
    ) -> None:
        (tmp_path / "g.json").write_text(content)
        assert reason in said(capsys, "promote", "2", "--gates", "g.json", status=2)

    def test_a_byte_order_mark_is_no_fault(self, tmp_path: Path) -> None:
        (tmp_path / "g.json").write_bytes(b'\xef\xbb\xbf{"forget_prob": 0.2}')
        assert gates.read_limits(tmp_path / "g.json") == {"forget_prob": 0.2}


class TestJournal:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.journal"
        open_storage(str(path)).create_new_study([0], "study")  # type: ignore[list-item]
        return path

    def test_a_line_cut_in_the_middle_is_removed_and_the_study_continues(self, journal: Path) -> None:
        whole = journal.read_bytes()
        journal.write_bytes(whole + b'{"op_code":5,"worker')
        assert len(open_storage(str(journal)).get_all_studies()) == 1
        assert journal.read_bytes().startswith(whole)
        assert all(json.loads(line) for line in journal.read_text().splitlines())

    def test_a_broken_line_in_the_middle_is_named_with_the_command_that_removes_it(
        self, journal: Path
    ) -> None:
        journal.write_bytes(journal.read_bytes() + b"{broken\n{}\n")
        number = len(journal.read_text().splitlines()) - 1
        with pytest.raises(StudyError, match=f"line {number} is broken.*sed -i {number}d"):
            open_storage(str(journal))

    def test_the_lock_of_a_killed_process_does_not_hold(
        self, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        JournalFileBackend(str(journal))._lock.acquire()
        monkeypatch.chdir(journal.parent)
        open_storage("a.journal").create_new_study([0], "second")  # type: ignore[list-item]


class TestProcesses:
    def test_a_full_standard_output_is_one_line(self, shared_store: Store) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "sa_mlops", "lineage"], stdout=full, stderr=subprocess.PIPE, text=True,
                check=False, timeout=240, env=child_environment(),
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == "sa-mlops: standard output cannot be written (No space left on device)\n"

    def test_a_python_without_the_packages_names_the_environment_to_activate(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-S", "-m", "sa_mlops", "lineage"], capture_output=True, text=True, check=False,
            timeout=60, env=child_environment(PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"{sys.executable} has no package" in done.stderr

    def test_the_commit_of_another_repository_is_not_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for words in (["init", "-q"], ["commit", "-qm", "x", "--allow-empty"]):
            subprocess.run(
                ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", *words],
                cwd=tmp_path, check=True,
            )  # fmt: skip
        inside = tmp_path / "unpacked"
        inside.mkdir()
        assert tracking.git_commit(inside) == ""
        own = tracking.git_commit(ROOT)
        monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
        assert tracking.git_commit(ROOT) == own
        assert tracking.git_commit(inside) == ""

    @pytest.mark.parametrize(
        ("variable", "shown"), [("MLFLOW_EXPERIMENT_ID=3", 0), ("MLFLOW_EXPERIMENT_NAME=", 1)]
    )
    def test_make_gives_no_second_experiment(self, variable: str, shown: int) -> None:
        name, _, value = variable.partition("=")
        done = subprocess.run(
            ["make", "-n", "forget"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {name: value},
        )
        assert done.stdout.count("--experiment-name") == shown
