"""`compare`, interrupted and resumed: the rows of a table, each reproduced by its command, on the digits."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from stores import PATIENCE, ROOT, Store, child_environment, isolate, wait_for

from sa_mlops.cli import main
from sa_mlops.config import CompareConfig
from sa_mlops.parameters import ParameterError

COMPARE = (
    *("compare", "--dataset", "digits", "--from-version", "1", "--classes", "1", "--seeds", "0"),
    *("--methods", "redaction,esd", "--steps", "10", "--trials", "2", "--json"),
)
ROOT_COLUMNS = {"method", "class", "seed", "needs_data", "target", "version", "command"}


@dataclass(frozen=True)
class Compared:
    """A comparison that was interrupted after its first row, and resumed.

    Attributes
    ----------
    first : what the interrupted command said.
    parents : ids of the runs of both commands.
    document, log : what the second one printed and said.
    """

    store: Store
    first: str
    parents: tuple[str, str]
    document: dict[str, Any]
    log: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.store.uri)

    def runs(self, text: str) -> list[Any]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, text))

    def children(self) -> list[Any]:
        return self.runs(f"tags.`mlflow.parentRunId` = '{self.parents[1]}'")


@pytest.fixture(scope="module")
def compared(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compared")
    store = digits_store.copy(folder)
    client = MlflowClient(store.uri)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "brief.py"), *COMPARE],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=child_environment(MLFLOW_TRACKING_URI=store.uri),
    )  # fmt: skip
    try:
        wait_for(lambda: len(client.search_model_versions("name = 'sa-cvae'")) == 4, process)
        process.send_signal(signal.SIGINT)
        _, first = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, first
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        document, log = called(*COMPARE)
    experiments = [e.experiment_id for e in client.search_experiments()]
    order = ["attributes.start_time ASC"]
    found = client.search_runs(experiments, "tags.`sa.entry` = 'compare'", order_by=order)
    interrupted, resumed = (run.info.run_id for run in found)
    return Compared(store, first, (interrupted, resumed), document, log)


def called(*words: str) -> tuple[dict[str, Any], str]:
    """The document that a command prints, and what it says."""
    import contextlib

    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        status = main(words)
    assert status == 0, said.getvalue()
    return json.loads(out.getvalue()), said.getvalue()


def test_an_interrupted_comparison_keeps_its_trials_and_rows_and_makes_the_others(compared: Compared) -> None:
    assert "finished trials and versions are kept" in compared.first
    assert compared.client.get_run(compared.parents[0]).info.status == "KILLED"
    assert compared.runs("attributes.status = 'RUNNING'") == []
    assert len(compared.runs("tags.`sa.stage` = 'trial' AND attributes.status = 'FINISHED'")) == 4
    assert [r["version"] for r in compared.document["rows"]][1:] == ["models:/sa-cvae/4", "models:/sa-cvae/5"]
    assert "v4 forget 1 by redaction: reused" in compared.log


def test_the_base_comes_first_and_every_method_follows(compared: Compared) -> None:
    rows = compared.document["rows"]
    assert [(r["method"], r["class"], r["seed"]) for r in rows] == [
        ("base", "1", 0), ("redaction", "1", 0), ("esd", "1", 0),
    ]  # fmt: skip
    assert rows[0]["forget.prob"] > 0.5 > rows[1]["forget.prob"]
    assert [r["needs_data"] for r in rows[1:]] == [False, False]


def test_the_time_is_estimated_beforehand(compared: Compared) -> None:
    lines = compared.log.splitlines()
    estimate = next(i for i, line in enumerate(lines) if "2 rows, 2 of them to be made" in line)
    assert any("2/2" in line for line in lines[estimate:])
    assert not any("2/2  redaction" in line or "1/2" in line for line in lines[:estimate])


def test_each_row_is_a_nested_run_with_the_metrics_of_forget(compared: Compared) -> None:
    rows = {r["version"]: r for r in compared.document["rows"]}
    runs = {r.data.tags["sa.command"]: r for r in compared.children() if "sa.command" in r.data.tags}
    assert len(runs) == len(rows) == 3
    for row in rows.values():
        run = runs[row["command"]]
        assert run.data.metrics["forget.prob"] == row["forget.prob"]
        assert run.data.metrics["retain.fid"] == row["retain.fid"]
        assert run.data.params["method"] == row["method"]


def test_every_method_has_its_study_with_equal_trials(compared: Compared) -> None:
    studies = [r for r in compared.children() if r.data.tags.get("sa.stage") == "tune"]
    assert {(r.data.params["method"], r.data.params["trials"]) for r in studies} == {
        ("esd", "2"), ("redaction", "2"),
    }  # fmt: skip
    assert {r.data.params["seeds"] for r in studies} == {"1"}


def test_the_table_is_an_artifact_in_three_forms(compared: Compared, tmp_path: Path) -> None:
    run_id = compared.parents[1]
    mlflow.set_tracking_uri(compared.store.uri)
    table = mlflow.load_table("tables/comparison.json", run_ids=[run_id])
    path = compared.client.download_artifacts(run_id, "tables/comparison.csv", str(tmp_path))
    assert set(pd.read_csv(path).columns) == set(table.columns) >= ROOT_COLUMNS
    text = Path(compared.client.download_artifacts(run_id, "tables/comparison.md", str(tmp_path))).read_text()
    assert all(row["command"] in text for row in compared.document["rows"])


def test_the_command_of_a_row_and_the_same_comparison_again_make_nothing_new_but_columns_of_recorded_attacks(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolate(monkeypatch, tmp_path)
    store = compared.store.copy(tmp_path)
    shutil.copytree(compared.store.folder / "studies", tmp_path / "studies")
    row = compared.document["rows"][-1]
    again, _ = called(*shlex.split(row["command"])[1:], "--json")
    assert again["version"] == row["version"]
    client = MlflowClient(store.uri)
    probed = client.get_model_version("sa-cvae", row["version"].rpartition("/")[2]).run_id
    for key, value in (("level.A0.success", 0.25), ("base.level.A0.success", 1.0)):
        client.log_metric(probed, key, value)
    document, log = called(*COMPARE)
    assert "reused" in log
    assert len(client.search_model_versions("name = 'sa-cvae'")) == 5
    assert [r.pop("level.A0.success") for r in document["rows"]] == [1.0, None, 0.25]
    assert document["rows"] == compared.document["rows"]
    experiment = client.get_run(probed).info.experiment_id
    (parent,) = client.search_runs([experiment], "tags.`sa.entry` = 'compare'", max_results=1)
    figures = {f.path for f in client.list_artifacts(parent.info.run_id, "figures")}
    assert figures == {"figures/attacks.png", "figures/comparison.png"}


def test_the_control_is_compared_first_and_with_its_own_steps() -> None:
    config = CompareConfig(dataset="digits", methods="esd,retrain", steps=7)
    assert config.compared == ("retrain", "esd")
    assert config.row("retrain", 1, 0, {}).steps is None  # type: ignore[attr-defined]
    assert config.row("esd", 1, 0, {}).steps == 7  # type: ignore[attr-defined]


def test_a_phase_is_added_to_a_row() -> None:
    config = CompareConfig(dataset="digits", methods="esd+distil,selective-amnesia+harden")
    assert [(s.distil, s.harden) for s in (config.row(w, 1, 0, {}) for w in config.compared)] == [
        (True, False), (False, True),
    ]  # fmt: skip


@pytest.mark.parametrize("methods", ["nothing", "esd,esd", "esd+", "esd+harden+distil", "", "retrain,"])
def test_methods_that_are_not_known_are_refused(methods: str) -> None:
    with pytest.raises(ParameterError, match="--methods"):
        CompareConfig(dataset="digits", methods=methods)


def test_a_study_has_the_steps_of_the_rows_and_another_seed() -> None:
    config = CompareConfig(dataset="digits", methods="esd", seeds=(0, 4), trials=3, workers=2)
    study = config.study("esd", 25)
    assert (study.steps, study.seeds, study.classes) == ((25,), (5,), ("1", "0"))
    assert (study.trials, study.workers) == (3, 2)
    assert "steps" not in study.searched
    assert config.study("redaction", 1).searched == ("replacement",)
