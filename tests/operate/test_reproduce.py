"""Versions of the shared lineage, rebuilt from their tags."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import pytest
import torch
from mlflow.tracking import MlflowClient
from stores import FORGET, Store

from sa_mlops.cli import main
from sa_mlops.config import RunConfig
from sa_mlops.core import training
from sa_mlops.errors import CommandError
from sa_mlops.methods import hardening
from sa_mlops.operate.reproduce import ReproduceError, compare, measured, reproduce
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names, provenance, versions
from sa_mlops.stages.context import Context

pytestmark = pytest.mark.integration


def counts() -> tuple[int, int]:
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments()]
    return len(client.search_runs(experiments)), len(client.search_model_versions())


def test_a_fisher_diagonal_is_rebuilt_equal_and_nothing_is_registered(shared_store: Store) -> None:
    before = counts()
    result = reproduce("sa-fim/1", "cpu")
    assert result.passed, result.text
    assert result.document["max_abs_difference"] == 0
    assert counts() == before


def test_other_packages_are_named_before_it_rebuilds(
    shared_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = versions.get(MlflowClient(), names.FISHERS, 1)
    then, record = provenance.read(version.run_id)
    assert then["mlflow"] == provenance.packages()["mlflow"]
    assert shlex.split(record["command"])[:2] == ["sa-mlops", "forget"]
    assert "--steps=120" in record["command"]
    monkeypatch.setattr(provenance, "packages", lambda: {**then, "torch": "0.1", "another": "2"})
    found = reproduce("sa-fim/1", "cpu").document["environment"]
    assert found == ["another not installed then, 2 here", f"torch {then['torch']} then, 0.1 here"]
    assert capsys.readouterr().err.startswith(found[0])


def test_a_generator_is_rebuilt_equal_measures_as_recorded_and_nothing_is_registered(
    shared_store: Store,
) -> None:
    before = counts()
    result = reproduce("2", "cpu")
    assert result.passed, result.text
    assert result.document["max_abs_difference"] == 0
    metrics = result.document["metrics"]
    assert {"forget.prob", "forget.entropy", "retain.accuracy", "retain.fid"} <= metrics.keys()
    assert all(m["recorded"] == pytest.approx(m["rebuilt"], rel=1e-6) for m in metrics.values())
    assert counts() == before


def test_a_hardened_version_says_so_counts_both_phases_and_is_rebuilt_equal(
    own_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Any classifier serves to train against.
    monkeypatch.setattr(training, "MIN_JUDGE_STEPS", 20)
    recipe = hardening.recipe(10)
    brief = replace(recipe, optimisation=replace(recipe.optimisation, steps=5), pool=32)
    monkeypatch.setattr(hardening, "recipe", lambda classes: brief)
    assert main([*FORGET, "--steps", "20", "--harden", "--harden-retain", "99"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"seconds: (judge \d+, )?forget \d+; \d+ in all", said), said
    version = versions.get(MlflowClient(), names.GENERATORS, 4)
    assert version.title == "v4 forget 1 hardened"
    made = MlflowClient().get_run(version.run_id)
    assert made.info.run_name == "forget 1 hardened from v1"
    run = made.data
    assert json.loads(version.tags[names.SETTINGS])["harden"]["retain_weight"] == 99
    assert run.metrics["progress/step"] == int(run.tags[names.STEPS]) == 25
    before = counts()
    result = reproduce("4", "cpu")
    assert result.document["max_abs_difference"] == 0, result.text
    assert counts() == before


@pytest.mark.parametrize("how", ["not named", "deleted"])
def test_a_generator_whose_judge_is_gone_is_compared_by_tensors_alone(own_store: Store, how: str) -> None:
    client = MlflowClient()
    if how == "deleted":
        client.delete_model_version(names.JUDGES, "1")
    else:
        client.delete_model_version_tag(names.GENERATORS, "2", names.JUDGE)
    ctx = Context.open(RunConfig(dataset="digits", device="cpu"))
    version = versions.get(client, names.GENERATORS, 2)
    assert measured(ctx, version, ctx.load(version).state_dict()) == {}


def test_another_seed_gives_another_version(own_store: Store) -> None:
    MlflowClient().set_model_version_tag(names.FISHERS, "1", names.SEED, "5")
    result = reproduce("sa-fim/1", "cpu")
    assert not result.passed
    assert "DIFFERENT" in result.text


@pytest.mark.parametrize(
    ("tag", "value", "words"),
    [
        (names.DATA_MD5, "0" * 32, "was made from data"),
        (names.SETTINGS, "{}", "settings.samples: Field required"),
        (names.SETTINGS, '{"samples": NaN}', "samples: Input should be a valid integer, not nan"),
        (names.PARENT, "models:/sa-cvae/55", "was deleted"),
        (names.PARENT, "/etc", "names no version"),
        (names.SEED, "-1", "not a seed"),
        (names.DATASET, "imagenet", "unknown"),
        (names.MACHINE, "cuda: some card, torch 2", "--device cuda"),
        (names.STAGE, "judge", "not rebuilt"),
    ],
)
def test_inputs_that_are_not_as_recorded_are_refused(
    own_store: Store, tag: str, value: str, words: str
) -> None:
    MlflowClient().set_model_version_tag(names.FISHERS, "1", tag, value)
    with pytest.raises(CommandError, match=words):
        reproduce("sa-fim/1", "cpu")


def test_a_version_without_settings_is_refused(own_store: Store) -> None:
    MlflowClient().delete_model_version_tag(names.FISHERS, "1", names.SETTINGS)
    with pytest.raises(ReproduceError, match="records no settings"):
        reproduce("sa-fim/1", "cpu")


@pytest.mark.parametrize("word", ["99", "sa-fim/99", "models:/other/1", "../1", "file:///etc/passwd"])
def test_a_version_that_is_not_there_is_the_users_mistake(own_store: Store, word: str) -> None:
    with pytest.raises(ParameterError, match="VERSION"):
        reproduce(word, "cpu")


def test_nets_of_other_shapes_are_never_equal() -> None:
    with pytest.raises(ReproduceError, match="code has changed"):
        compare({"a": torch.zeros(2)}, {"a": torch.zeros(3)})


def test_the_command_prints_the_difference(own_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "sa-fim/1", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["max_abs_difference"] == 0
