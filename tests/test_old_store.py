"""A store that the code of commit 35e9e08 made stays readable: versions, tags, metrics, commands, terminal UI.

`tests/data/old_store.tar.xz` holds what these commands of that commit left, on scikit-learn's digits with few steps:
judge, base (100 steps), forget 1, sequential 0,8 (30 steps, 500 Fisher samples each), oracle without 1 (100 steps), and
two promotions. Of the weights it holds those of the judges and of generator 1.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file, save_file
from stores import ROOT, Store

from sa_mlops import cli
from sa_mlops.registry import log, names, stores, tracking, versions

pytestmark = pytest.mark.integration
DIGITS = ("--dataset", "digits", "--device", "cpu")
FEW = ("--steps", "30", "--fisher-samples", "500")
WIDE = {
    "forget_prob": 1,
    "forget_entropy": 0,
    "forget_pixel_variance": 9,
    "retain_accuracy_drop": 9,
    "retain_class_drop": 9,
    "retain_fid_rise": 999,
    "retain_recall_share": 0,
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store beside its artifacts; generators 2 to 5 and Fisher diagonals get stand-ins made from generator 1."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ROOT / "tests" / "data" / "old_store.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (real,) = (p for p in folder.rglob("weights.safetensors") if p.stat().st_size > 1_000_000)
    squares = {name: value.square() for name, value in load_file(real).items()}
    for config in folder.rglob("config.json"):
        weights = config.with_name("weights.safetensors")
        kind = json.loads(config.read_text())["kind"]
        if kind == "cvae" and weights != real:
            shutil.copy(real, weights)
        elif kind == "fim":
            save_file(squares, weights)
    assert stores.correct_places(folder / "mlflow.db") > 0
    return Store(folder)


@pytest.fixture
def old(unpacked: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """For reading."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", unpacked.uri)
    return unpacked


@pytest.fixture
def changeable(unpacked: Store, tmp_path: Path) -> Store:
    """A copy, for tests that add to it."""
    return unpacked.copy(tmp_path)


def test_versions_have_their_stages_classes_and_parents(old: Store) -> None:
    found = {v.number: v for v in versions.all_versions(MlflowClient(), names.GENERATORS)}
    stages = {number: v.stage for number, v in found.items()}
    assert stages == {1: "base", 2: "forget", 3: "forget", 4: "forget", 5: "retrain"}
    forgotten = {number: v.forgotten for number, v in found.items()}
    assert forgotten == {1: (), 2: ("1",), 3: ("0",), 4: ("0", "8"), 5: ("1",)}
    assert {number: v.parent for number, v in found.items()} == {1: None, 2: 1, 3: 1, 4: 3, 5: None}
    assert found[1].classes == tuple("0123456789")


def test_metrics_of_digits_are_read_as_metrics_of_classes(old: Store) -> None:
    client = MlflowClient()
    run = versions.get(client, names.GENERATORS, 2).run_id
    with closing(sqlite3.connect(old.folder / "mlflow.db")) as db:
        raw = dict(db.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run,)))
    read = tracking.run_metrics(client, run)
    for measure in ("prob", "accuracy", "entropy"):
        assert [read[f"class.{d}.{measure}"] for d in range(10)] == [
            raw[f"digit.{d}.{measure}"] for d in range(10)
        ]
    assert read["base.class.1.accuracy"] == raw["base.digit.1.accuracy"]


def test_lineage_shows_the_tree(old: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("v1 base @base")
    titles = [line.lstrip("├─└│ ").split("  ")[0] for line in lines[1:4]]
    assert titles == ["v2 forget 1", "v3 forget 0 @champion", "v4 forget 0,8"]
    assert lines[4].startswith("v5 ")


def test_lineage_as_json_names_the_classes(old: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "--json"]) == 0
    found = {v["uri"]: v for v in json.loads(capsys.readouterr().out)["versions"]}
    assert found["models:/sa-cvae/4"]["forgotten"] == ["0", "8"]
    assert found["models:/sa-cvae/2"]["metrics"]["class.1.prob"] == pytest.approx(0.1, abs=0.01)


def test_changes_of_the_champion_are_in_order(old: Store) -> None:
    events = log.alias_history(MlflowClient(), names.GENERATORS)
    assert [(e.alias, e.previous, e.number) for e in events] == [("champion", None, 2), ("champion", 2, 3)]


@pytest.mark.parametrize("version", ["2", "4", "5", "champion"])
def test_report_is_written(old: Store, tmp_path: Path, version: str) -> None:
    assert cli.main(["report", version, "--out", str(tmp_path / "out")]) == 0
    assert "base" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "report.html").stat().st_size > 1_000


def test_samples_of_the_whole_chain_are_drawn(old: Store, tmp_path: Path) -> None:
    assert cli.main(["sample", "4", "--compare", "--rows", "1", "--out", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").stat().st_size > 1_000


def test_doctor_finds_nothing_wrong(old: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0, capsys.readouterr().out


def test_the_base_is_reproduced(old: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "1"]) == 0, capsys.readouterr().out


def test_a_forgetting_step_is_rebuilt_from_its_recorded_settings(
    old: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are a stand-in here, so that the comparison finds them different."""
    assert cli.main(["reproduce", "2", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "models:/sa-cvae/2"


@pytest.mark.parametrize(
    "words",
    [
        ("judge",),
        ("base", "--steps", "100"),
        ("forget", "--classes", "1", "--from-version", "1", *FEW),
        ("forget", "--digit", "1", "--from-version", "1", *FEW),
        ("sequential", "--classes", "0,8", "--from-version", "1", *FEW),
        ("retrain", "--classes", "1", "--steps", "100"),
        ("oracle", "--digit", "1", "--steps", "100"),
    ],
    ids=" ".join,
)
def test_the_same_command_reuses_its_versions(changeable: Store, words: tuple[str, ...]) -> None:
    client = MlflowClient()
    before = {(v.name, v.number) for name in names.MODELS for v in versions.all_versions(client, name)}
    assert cli.main([words[0], *DIGITS, *words[1:]]) == 0
    assert {
        (v.name, v.number) for name in names.MODELS for v in versions.all_versions(client, name)
    } == before


def test_promotion_names_the_evidence_that_it_lacks(
    changeable: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gates.json").write_text(json.dumps(WIDE))
    assert cli.main(["promote", "2", "--gates", str(tmp_path / "gates.json")]) == 1
    said = capsys.readouterr().out
    missing = ["forget_prob", "screen_prob", "retain_recall_share"]
    assert [line.split()[1] for line in said.splitlines() if "not measured" in line] == [
        f"{m}:" for m in missing
    ]
    assert f"it fails: {', '.join(missing)}; measure" in said
    assert "`sa-mlops evaluate --dataset digits --version 2`" in said
    assert int(MlflowClient().get_model_version_by_alias(names.GENERATORS, "champion").version) == 3


def test_the_terminal_ui_reads_it(old: Store) -> None:
    from tui.services.store import Store as Shown

    shown = Shown(old.uri)
    *_, snapshot = shown.read(None)
    version = snapshot.versions[names.GENERATORS, 4]
    assert (version.stage, version.forgotten, version.parent) == ("forget", ("0", "8"), 3)
    assert snapshot.versions[names.GENERATORS, 5].stage == "retrain"
    assert snapshot.aliases[names.GENERATORS]["champion"] == 3
    assert (shown.files(version) / "weights.safetensors").is_file()
    assert torch.isfinite(torch.tensor(list(snapshot.runs[version.run_id].metrics.values()))).any()
