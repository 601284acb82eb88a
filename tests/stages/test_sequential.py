"""`sequential`: a chain of versions, the matrix over its steps, and a start again after a sudden death."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from stores import ROOT, Start, Store, isolate

from sa_mlops import cli
from sa_mlops.operate.keys import keygen
from sa_mlops.registry import gates, names, stores, versions, weights
from sa_mlops.registry.tracking import run_metrics

pytestmark = pytest.mark.integration

COMMAND = (
    *("sequential", "--dataset", "digits", "--classes", "1,4", "--from-version", "1"),
    *("--steps", "60", "--fisher-samples", "500", "--fisher-source", "accumulated", "--json"),
)


@pytest.fixture(scope="module")
def uninterrupted(
    digits_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict[str, Any]]:
    """The store and the document of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("sequence")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        store = digits_store.copy(folder)
        with redirect_stdout(StringIO()) as out:
            assert cli.main(COMMAND) == 0
    return store, json.loads(out.getvalue())


def test_each_step_is_a_version_made_from_the_one_before(
    uninterrupted: tuple[Store, dict[str, Any]],
) -> None:
    steps = uninterrupted[1]["steps"]
    assert [s["version"] for s in steps] == [f"models:/sa-cvae/{n}" for n in (1, 4, 5)]
    assert [s["parent"] for s in steps] == [None, "models:/sa-cvae/1", "models:/sa-cvae/4"]
    assert [s["forgotten"] for s in steps] == [[], ["1"], ["1", "4"]]


def test_the_matrix_has_every_class_after_every_step(uninterrupted: tuple[Store, dict[str, Any]]) -> None:
    matrix = uninterrupted[1]["forgetting_matrix"]
    assert matrix.keys() == {"probability", "entropy", "accuracy"}
    assert all([len(row) for row in rows] == [10, 10, 10] for rows in matrix.values())


def test_forgotten_classes_stay_forgotten(uninterrupted: tuple[Store, dict[str, Any]]) -> None:
    probability = uninterrupted[1]["forgetting_matrix"]["probability"]
    accuracy = uninterrupted[1]["forgetting_matrix"]["accuracy"]
    assert probability[0][1] > 0.3
    assert probability[0][4] > 0.3
    assert accuracy[1][4] > 0.8, "the digit 4 is forgotten in the second step, not before"
    assert probability[1][1] < 0.12
    assert probability[2][1] < 0.12, "the digit 1 has rebounded"
    assert probability[2][4] < 0.12


def test_the_parent_run_has_the_matrix_and_the_nested_steps(
    uninterrupted: tuple[Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uninterrupted[0].uri)
    client = MlflowClient()
    (parent,) = client.search_runs(["1"], "tags.`sa.entry` = 'sequential'")
    assert parent.info.status == "FINISHED"
    judged = {
        s.number: run_metrics(client, s.run_id) for s in versions.all_versions(client, names.GENERATORS)
    }
    for k, number in ((1, 4), (2, 5)):
        assert parent.data.metrics[f"step.{k}.forget.prob_worst"] == judged[number]["forget.prob_worst"]
    assert {a.path for a in client.list_artifacts(parent.info.run_id, "figures")} >= {
        "figures/forgetting_matrix_probability.png",
        "figures/sequential.png",
    }
    nested = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [r.data.tags["sa.stage"] for r in nested].count("forget") == 2


def test_its_certificate_is_enough_to_rebuild_the_steps_and_the_diagonals_that_protected_them(
    uninterrupted: tuple[Store, dict[str, Any]], digits_store: Store, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    digits_store.whole_copy(tmp_path)
    uninterrupted[0].copy(tmp_path)
    stores.correct_places(tmp_path / "mlflow.db")
    keygen(tmp_path)
    limits = {name: -1e6 if gate.better == "high" else 1e6 for name, gate in gates.GATES.items()}
    (tmp_path / "any.json").write_text(json.dumps(limits))
    certify = ["certify", "5", "--gates", "any.json", "--key", "private.pem", "--out", "certificate"]
    assert cli.main(certify) == 0
    assert cli.main(["verify", "certificate", "--key", "public.pem", "--reproduce"]) == 0
    rebuilt = [line for line in capsys.readouterr().out.splitlines() if "rebuilt" in line]
    assert rebuilt == [f"models:/sa-cvae/{number}: rebuilt, equal" for number in (1, 4, 5)]
    assert cli.main(["reproduce", "sa-fim/latest"]) == 0
    assert "equal in every element" in capsys.readouterr().out


@pytest.mark.timeout(1200)
def test_after_a_kill_it_resumes_to_the_same_tensors(
    uninterrupted: tuple[Store, dict[str, Any]],
    own_store: Store,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = start(str(ROOT / "scripts" / "brief.py"), *COMMAND)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("forget 4 "):
            break
    process.kill()
    process.wait()
    assert [v.number for v in versions.all_versions(MlflowClient(), names.GENERATORS)] == [4, 3, 2, 1]
    assert cli.main([*COMMAND, "--resume"]) == 0
    resumed = tensors(4), tensors(5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uninterrupted[0].uri)
    for before, after in zip((tensors(4), tensors(5)), resumed, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


def tensors(number: int) -> dict[str, torch.Tensor]:
    version = versions.get(MlflowClient(), names.GENERATORS, number)
    return dict(weights.load_cvae(versions.files(version) / "artifacts").state_dict())


def test_without_an_interrupted_run_there_is_nothing_to_go_on_with(
    own_store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main([*COMMAND, "--resume"]) == 2
    assert "--resume" in capsys.readouterr().err
