"""Measuring: a version that is bad is seen to be bad, and a judge that cannot judge does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops import cli
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.classifiers import make_judge
from sa_mlops.models.interface import CVAE, make_net
from sa_mlops.registry import names, publish, versions, weights
from sa_mlops.registry.tracking import Recorder, open_run

pytestmark = pytest.mark.integration

Damage = Callable[[CVAE], None]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def client(own_store: Store) -> MlflowClient:
    return MlflowClient()


@pytest.fixture
def limits(tmp_path: Path) -> str:
    """Gates on forgetting as they are, and on retaining so wide that the small shared lineage passes."""
    path = tmp_path / "gates.json"
    path.write_text(
        '{"retain_accuracy_drop": 0.3, "retain_class_drop": 0.4, "retain_fid_rise": 100, "retain_recall_share": 0.5}'
    )
    return str(path)


def publish_damaged(client: MlflowClient, number: int, damage: Damage) -> int:
    """A version that claims to have forgotten the digit 1: version `number` with something done to its net."""
    model = weights.load_cvae(versions.files(versions.get(client, names.GENERATORS, number)) / "artifacts")
    with torch.no_grad():
        damage(model)
    return publish_as_forgotten(client, model)


def publish_as_forgotten(client: MlflowClient, model: CVAE) -> int:
    genuine = versions.get(client, names.GENERATORS, 2).tags
    tags = {k: v for k, v in genuine.items() if k != names.EVALUATION}
    with open_run("damaged", nested=False, tags={}) as run_id:
        version = publish.publish_generator(
            client, Recorder(client, run_id), model, tags=tags, description="", metrics={}, params={}
        )
    return version.number


def test_a_net_with_other_tensors_than_its_base_is_measured_without_the_screen(
    client: MlflowClient, capsys: Captured
) -> None:
    metrics = measured(capsys, publish_as_forgotten(client, make_net("mlp", SPEC, z_dim=4)))
    assert "base.retain.fid" in metrics
    assert "screen.prob" not in metrics


def measured(captured: Captured, number: int) -> dict[str, float]:
    captured.readouterr()
    assert cli.main(["evaluate", "--dataset", "digits", "--version", str(number), "--json"]) == 0
    metrics: dict[str, float] = json.loads(captured.readouterr().out)["metrics"]
    return metrics


def failed_gates(captured: Captured, number: int, limits: str) -> list[str]:
    captured.readouterr()
    assert cli.main(["promote", str(number), "--gates", limits, "--json"]) == 1
    gates = json.loads(captured.readouterr().out)["gates"]
    return [g["gate"] for g in gates if not g["passed"]]


def mute_the_condition(model: CVAE) -> None:
    """Only the decoder's input for the digit 1 is cut: no forgetting, a switch taken out."""
    model.decoder[0].weight[:, model.z_dim + 1] = 0  # type: ignore[union-attr]


def swap_a_retained_class(model: CVAE) -> None:
    """Asked for a 7 it draws a 3."""
    model.decoder[0].weight[:, model.z_dim + 7] = model.decoder[0].weight[:, model.z_dim + 3]  # type: ignore[union-attr]


def leave_as_it_is(model: CVAE) -> None:
    """Nothing is forgotten at all."""


def test_the_genuine_version_passes_the_limits(client: MlflowClient, limits: str) -> None:
    assert cli.main(["promote", "2", "--gates", limits]) == 0


def test_a_base_that_claims_to_have_forgotten_is_caught(
    client: MlflowClient, capsys: Captured, limits: str
) -> None:
    number = publish_damaged(client, 1, leave_as_it_is)
    metrics = measured(capsys, number)
    assert metrics["forget.accuracy"] > 0.9
    missed = ["forget_prob", "forget_entropy", "forget_pixel_variance", "screen_prob"]
    assert failed_gates(capsys, number, limits) == missed


def test_a_condition_cut_out_of_the_decoder_alone_is_caught(
    client: MlflowClient, capsys: Captured, limits: str
) -> None:
    number = publish_damaged(client, 1, mute_the_condition)
    metrics = measured(capsys, number)
    # The judge is as unsure about this blur of all digits as about noise: only the pixels tell them apart.
    assert metrics["forget.pixel_variance"] > 0.03
    assert "forget_pixel_variance" in failed_gates(capsys, number, limits)


def test_a_damaged_retained_class_is_caught(client: MlflowClient, capsys: Captured, limits: str) -> None:
    number = publish_damaged(client, 2, swap_a_retained_class)
    metrics = measured(capsys, number)
    assert metrics["forget.prob"] <= 0.11
    assert metrics["class.7.accuracy"] < 0.1
    assert metrics["retain.accuracy_min"] < 0.1
    assert failed_gates(capsys, number, limits) == ["retain_class_drop"]


def test_a_version_that_was_never_measured_is_not_promoted(
    client: MlflowClient, capsys: Captured, limits: str
) -> None:
    number = publish_damaged(client, 2, leave_as_it_is)
    assert len(failed_gates(capsys, number, limits)) == 8


def test_metrics_are_on_the_version_that_was_measured(client: MlflowClient, capsys: Captured) -> None:
    number = publish_damaged(client, 2, leave_as_it_is)
    metrics = measured(capsys, number)
    version = versions.get(client, names.GENERATORS, number)
    assert client.get_run(version.run_id).data.metrics["forget.prob"] == metrics["forget.prob"]
    logged = {m.key: m.value for m in client.get_logged_model(version.model_id).metrics or ()}
    assert logged["forget.prob"] == metrics["forget.prob"]
    original = client.get_run(versions.get(client, names.GENERATORS, 2).run_id).data.metrics
    assert metrics["forget.prob"] == pytest.approx(original["forget.prob"], abs=1e-6)


def test_a_judge_that_is_sure_about_grey_measures_nothing(client: MlflowClient, capsys: Captured) -> None:
    judge = make_judge("wide", SPEC)
    with torch.no_grad():
        judge.head.bias[3] = 8
    genuine = versions.get(client, names.JUDGES, 1)
    with open_run("judge", nested=False, tags={}) as run_id:
        publish.publish_files(
            client, Recorder(client, run_id), names.JUDGES, lambda folder: weights.save_judge(folder, judge),
            tags=genuine.tags, description="", metrics={}, params={},
        )  # fmt: skip
    capsys.readouterr()
    assert cli.main(["evaluate", "--dataset", "digits", "--version", "2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("sa-mlops: ")
    assert "judge" in last
    assert "grey" in last


def test_controls_stand_beside_the_numbers(client: MlflowClient, capsys: Captured) -> None:
    assert cli.main(["evaluate", "--dataset", "digits", "--version", "2", "--json"]) == 0
    controls = json.loads(capsys.readouterr().out)["controls"]
    assert controls.keys() == {"calibrated", "plain"}
    assert controls["calibrated"]["control.grey.entropy"] >= 2.25


def test_the_membership_auc_is_shown_beside_a_base_that_remembers_its_canaries(
    client: MlflowClient, capsys: Captured
) -> None:
    shown = ["evaluate", "--dataset", "digits", "--version", "2"]
    known = [v.number for name in names.MODELS for v in versions.all_versions(client, name)]
    assert cli.main(shown) == 0
    assert "membership AUC" not in capsys.readouterr().out
    assert cli.main([*shown, "--canaries", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["control"] == found["metrics"]["base.canary.100.auc"] > 0.9
    assert [v.number for name in names.MODELS for v in versions.all_versions(client, name)] == known
    assert cli.main(shown) == 0
    assert "membership AUC" in capsys.readouterr().out


def test_a_population_has_a_generator_of_each_kind_and_seed_and_is_made_once(
    client: MlflowClient, capsys: Captured
) -> None:
    words = ["evaluate", "--dataset", "digits", "--version", "2", "--population", "2", "--json"]
    capsys.readouterr()
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["base.population.forget.margin"] > found["retrained.population.forget.margin"]
    made = list(versions.all_versions(client, names.GENERATORS))
    kinds = sorted((v.stage, v.tags[names.SEED]) for v in made)
    assert kinds == sorted((stage, seed) for stage in ("base", "forget", "retrain") for seed in "01")
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == found
    assert len(list(versions.all_versions(client, names.GENERATORS))) == len(made)
    version = versions.get(client, names.GENERATORS, 2)
    assert client.get_run(version.run_id).data.metrics["population.size"] == 2


@pytest.mark.parametrize("control", [("--canaries",), ("--population", "2")])
@pytest.mark.parametrize("words", [("--version", "1"), ("--version", "3"), ("--all-classes",)])
def test_a_control_needs_a_version_that_forgot_in_one_step(
    client: MlflowClient, capsys: Captured, control: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert cli.main(["evaluate", "--dataset", "digits", *control, *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("sa-mlops: --")


def test_a_population_has_halves(capsys: Captured) -> None:
    assert cli.main(["evaluate", "--dataset", "digits", "--population", "3"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("sa-mlops: --population: 3 is not allowed")
