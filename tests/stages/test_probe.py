"""Recovery probes as a stage: every generator under the same attacks, the numbers where they belong, clear refusals."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from stores import Store, isolate

from sa_mlops import cli
from sa_mlops.config import ProbeConfig
from sa_mlops.core import fakes, training
from sa_mlops.core.probes import PROBES, relearning
from sa_mlops.core.probes.relearning import CASES
from sa_mlops.core.probes.weights import EDITS, finetuning, interface, units
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import claims, names, versions
from sa_mlops.stages import probe
from sa_mlops.stages.context import Context

pytestmark = pytest.mark.integration

DIGITS = ("--dataset", "digits")
PROBE = ("probe", *DIGITS, "--version", "2", "--probes", "weak_condition,joint", "--attempts", "20", "--json")
STEPS = 10
"""Of searches and of relearning, where the command takes 500 and 1,000."""
BRIEF = {
    name: replace(p, budget=replace(p.budget, steps=min(p.budget.steps, STEPS))) for name, p in PROBES.items()
}
SUBJECTS = ["base", "v2", "retrained"]


@pytest.fixture(scope="module", autouse=True)
def brief_probes(digits_store: Store) -> Iterator[None]:
    """Attacks of few steps by attackers of few steps; relearning is measured with few samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MIN_JUDGE_STEPS", 60)
        patch.setattr(probe, "PROBES", BRIEF)
        patch.setattr(probe, "CASES", {case: replace(taught, steps=STEPS) for case, taught in CASES.items()})
        for module in (probe, relearning.interface):
            patch.setattr(module, "SAMPLES", 100)
        yield


@pytest.fixture(scope="module")
def probed(
    digits_store: Store, brief_probes: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict[str, Any]]:
    """A copy of the shared lineage after the version 2 was attacked, and what the command printed."""
    store = digits_store.copy(tmp_path_factory.mktemp("probed"))
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, store.folder)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert cli.main(list(PROBE)) == 0
    return store, json.loads(out.getvalue())


@pytest.fixture
def client(probed: tuple[Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", probed[0].uri)
    return MlflowClient()


def test_base_version_and_retrained_control_stand_side_by_side(probed: tuple[Store, dict[str, Any]]) -> None:
    _, document = probed
    assert document["class"] == "1"
    assert [row["probe"] for row in document["probes"]] == ["weak_condition", "joint", "union"]
    for row in document["probes"]:
        assert list(row["subjects"]) == SUBJECTS
        for found in row["subjects"].values():
            assert 0 <= found["low"] <= found["success"] <= found["high"] <= 1
            assert found["attempts"] == 20
        theirs = {name: found["success"] for name, found in row["subjects"].items()}
        assert row["excess"] == pytest.approx(theirs["v2"] - theirs["retrained"])


def test_union_is_at_least_each_probe(probed: tuple[Store, dict[str, Any]]) -> None:
    *single, union = probed[1]["probes"]
    for name in SUBJECTS:
        assert union["subjects"][name]["success"] >= max(row["subjects"][name]["success"] for row in single)


def test_every_case_of_relearning_is_tried(probed: tuple[Store, dict[str, Any]]) -> None:
    _, document = probed
    assert list(document["relearning"]) == list(CASES)
    for case in document["relearning"].values():
        assert list(case) == SUBJECTS
        for curve in case.values():
            assert len(curve["steps"]) == len(curve["accepted"])
            assert (curve["steps"][0], curve["steps"][-1]) == (0, STEPS)
    for name, worst in document["relearning_worst"].items():
        final = [case[name]["accepted"][-1] for case in document["relearning"].values()]
        assert worst["success"] >= max(final) - 1e-3
        assert worst["steps"] <= STEPS
    own, neighbours = (document["relearning"][case] for case in ("100", "100.neighbour"))
    assert own["base"]["accepted"][0] > 0.2 > 0.05 > own["v2"]["accepted"][0]
    assert neighbours["base"]["accepted"][0] < 0.05


def test_numbers_are_on_the_version_and_on_the_run_of_each_attack(
    probed: tuple[Store, dict[str, Any]], client: MlflowClient
) -> None:
    _, document = probed
    version = versions.get(client, names.GENERATORS, 2)
    union = document["probes"][-1]
    on_version = client.get_run(version.run_id).data.metrics
    assert "A0 to A4, A6 not measured" in version.claim
    assert on_version["attack.union.success"] == union["subjects"]["v2"]["success"]
    assert on_version["attack.union.excess"] == pytest.approx(union["excess"])
    [entry] = client.search_runs(
        [client.get_run(version.run_id).info.experiment_id], f"tags.`{names.STAGE}` = 'probe'"
    )
    nested = client.search_runs(
        [entry.info.experiment_id], f"tags.`mlflow.parentRunId` = '{entry.info.run_id}'"
    )
    attacks = {
        run.data.params["version"]: run.data.metrics for run in nested if "attempts" in run.data.params
    }
    assert len(attacks) == len(SUBJECTS)
    for case, curves in document["relearning"].items():
        accepted = attacks[version.uri][f"relearn.{case}.accepted"]
        assert accepted == pytest.approx(curves["v2"]["accepted"][-1])
    figures = {Path(f.path).name for f in client.list_artifacts(entry.info.run_id, "figures")}
    assert {"relearning_10.png", "relearning_10_neighbour.png", "budget_joint.png"} <= figures


@pytest.mark.parametrize(("recorded", "expected"), [("1", 1), ("8", 8), ("", 8)])
def test_the_class_forgotten_last_is_recovered_not_the_largest(
    own_store: Store, recorded: str, expected: int
) -> None:
    client = MlflowClient(own_store.uri)
    for tag, value in ((names.FORGOTTEN, "1,8"), (names.FORGOTTEN_LAST, recorded)):
        client.set_model_version_tag(names.GENERATORS, "2", tag, value)
    config = ProbeConfig(dataset="digits", version="2")
    version = versions.get(client, names.GENERATORS, 2)
    assert probe.class_to_recover(Context.open(config), version, config) == expected


def test_a_switch_is_revived_by_an_edit_of_units_and_a_version_that_forgot_is_not(
    probed: tuple[Store, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = probed[0].copy(tmp_path)
    monkeypatch.setattr(probe, "EDITS", {name: EDITS[name] for name in ("ablate", "finetune", "line")})
    monkeypatch.setattr(
        probe, "PROBES", {name: BRIEF[name] for name in ("direct", "own_encoder", "transfer")}
    )
    monkeypatch.setattr(fakes, "STEPS", 40)
    monkeypatch.setattr(finetuning, "STEPS", (5, 20))
    monkeypatch.setattr(units, "UNITS", 2)
    shorter = {word: follow for word, follow in interface.FOLLOW_UPS.items() if word != "joint"}
    monkeypatch.setattr(interface, "FOLLOW_UPS", shorter)
    monkeypatch.setattr(probe, "CASES", {"10": probe.CASES["10"]})
    before = {v.uri for v in versions.all_versions(MlflowClient(store.uri), names.GENERATORS)}
    words = ("--level", "all", "--version", "2", "--attempts", "20", "--json")
    assert cli.main(["probe", *DIGITS, *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["levels"]) == list(claims.ROWS)
    assert list(document["levels"]["A3"]) == ["base", "v2", "switch", "lock", "retrained"]
    shown = {level: {k: v["success"] for k, v in row.items()} for level, row in document["levels"].items()}
    assert shown["A0"]["switch"] == shown["A0"]["lock"] == 0
    revived = document["levels"]["A3"]
    assert revived["switch"]["low"] > revived["v2"]["high"]
    client = MlflowClient(store.uri)
    recorded = client.get_run(versions.get(client, names.GENERATORS, 2).run_id).data.metrics
    assert recorded["level.A3.success"] == shown["A3"]["v2"]
    assert recorded["relearn.worst"] == shown["A5"]["v2"]
    assert recorded["switch.level.A3.success"] == revived["switch"]["success"]
    assert recorded["tamper.line.success.high"] == document["tampering"]["line"]["v2"]["high"]
    claim = versions.get(client, names.GENERATORS, 2).claim
    assert claim == document["claim"] == claims.claim(recorded)
    assert "not measured" not in claim
    assert not any(v.claim for v in versions.all_versions(client, names.GENERATORS) if v.number != 2)
    assert {v.uri for v in versions.all_versions(client, names.GENERATORS)} == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--version", "2", "--probes", "joint,telepathy"), 2, "telepathy"),
        (("--version", "2", "--level", "all", "--contrast", "3"), 2, "1 with --level all"),
        (("--version", "1"), 2, "has forgotten a class"),
        (("--version", "2", "--target", "5"), 2, "a class that models:/sa-cvae/2 has forgotten"),
        (
            ("--version", "2", "--seed", "3", "--no-train"),
            1,
            "make it with `sa-mlops retrain --dataset=digits --seed=3",
        ),
    ],
    ids=["unknown probe", "weights at raised contrast", "nothing forgotten", "another class", "no control"],
)
def test_a_version_that_cannot_be_attacked_is_refused_with_one_line(
    words: tuple[str, ...], status: int, said: str, own_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["probe", *DIGITS, *words]) == status
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line
    assert len(list(versions.all_versions(MlflowClient(own_store.uri), names.GENERATORS))) == 3


def test_attacks_at_raised_contrast_are_not_recorded_with_the_version(
    probed: tuple[Store, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = probed[0].copy(tmp_path)
    factors: list[float] = []
    raised = CVAE.raised

    def spy(model: CVAE, contrast: float) -> CVAE:
        factors.append(contrast)
        return raised(model, contrast)

    monkeypatch.setattr(CVAE, "raised", spy)
    client = MlflowClient(store.uri)
    run_id = versions.get(client, names.GENERATORS, 2).run_id
    before = client.get_run(run_id).data.metrics
    few = ("--probes", "condition_sweep", "--attempts", "10", "--json")
    assert cli.main(["probe", *DIGITS, "--version", "2", *few, "--contrast", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert factors == [5.0] * len(SUBJECTS)
    assert document["contrast"] == 5
    assert document["relearning"] == {}
    assert client.get_run(run_id).data.metrics == before
    experiment = client.get_run(run_id).info.experiment_id
    probes = client.search_runs([experiment], f"tags.`{names.STAGE}` = 'probe'")
    [entry] = [run for run in probes if run.data.params["contrast"] == "5.0"]
    found = document["probes"][0]["subjects"]["v2"]["success"]
    assert entry.data.metrics["attack.condition_sweep.success"] == found
