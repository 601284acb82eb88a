"""Gates, promotion, and the recorded changes of the champion."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops import cli
from sa_mlops.core.fakes import FAKES
from sa_mlops.core.screen import screen
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import gates, log, names, versions, weights
from sa_mlops.registry.gates import judge, judge_version, limits, read_limits
from sa_mlops.registry.version import Version

FORGOTTEN = Version(name=names.GENERATORS, number=2, tags={"sa.stage": "forget", "sa.forgotten": "1,4"})
KEPT = (0, 2, 3, 5, 6, 7, 8, 9)
WIDE = {
    "retain_accuracy_drop": 0.5,
    "retain_class_drop": 0.5,
    "retain_fid_rise": 10.0,
    "retain_recall_share": 0.5,
}
"""Limits that the small shared lineage keeps."""


def good() -> dict[str, float]:
    """Metrics that pass every gate."""
    metrics = {
        "retain.accuracy": 0.98,
        "base.retain.accuracy": 0.98,
        "retain.fid": 10.0,
        "base.retain.fid": 10.0,
        "retain.recall": 0.2,
        "base.retain.recall": 0.2,
        "forget.pixel_variance": 0.001,
        "forget.prob_worst": 0.1,
        "screen.prob": 0.1,
    }
    for d in (1, 4):
        metrics |= {f"class.{d}.entropy": 2.3}
    for d in KEPT:
        metrics |= {f"class.{d}.accuracy": 0.98, f"base.class.{d}.accuracy": 0.98}
    return metrics


def champions(client: MlflowClient) -> list[log.AliasEvent]:
    return [e for e in log.alias_history(client, names.GENERATORS) if e.alias == names.CHAMPION_ALIAS]


def failed(metrics: dict[str, float], version: Version = FORGOTTEN) -> list[str]:
    return [v.gate for v in judge_version(version, metrics) if not v.passed]


def test_a_version_that_keeps_every_limit_passes() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"forget.prob_worst": 0.1101}, "forget_prob"),
        ({"screen.prob": 0.1501}, "screen_prob"),
        ({"retain.recall": 0.1799}, "retain_recall_share"),
        ({"class.1.entropy": 2.2899}, "forget_entropy"),
        ({"forget.pixel_variance": 0.0101}, "forget_pixel_variance"),
        ({"retain.accuracy": 0.9749}, "retain_accuracy_drop"),
        ({"class.9.accuracy": 0.9599}, "retain_class_drop"),
        ({"retain.fid": 10.51}, "retain_fid_rise"),
    ],
)
def test_each_limit_is_one_gate(change: dict[str, float], gate: str) -> None:
    assert failed(good() | change) == [gate]


def test_a_forgotten_class_is_not_asked_to_be_retained() -> None:
    assert failed(good() | {"class.1.accuracy": 0.0, "base.class.1.accuracy": 1.0}) == []


@pytest.mark.parametrize("key", sorted(good()))
def test_a_metric_that_is_missing_or_not_a_number_fails(key: str) -> None:
    metrics = good()
    assert len(failed(metrics | {key: math.nan})) == 1
    del metrics[key]
    assert len(failed(metrics)) == 1


def test_a_base_is_no_champion_for_it_has_forgotten_nothing() -> None:
    base = Version(name=names.GENERATORS, number=1, tags={"sa.stage": "base", "sa.forgotten": ""})
    metrics = good() | {f"{p}class.{d}.accuracy": 0.98 for p in ("", "base.") for d in (1, 4)}
    assert failed(metrics, base) == ["forget_prob", "forget_entropy", "screen_prob"]


@pytest.mark.parametrize("fid", [0.0, -1.0])
def test_a_base_fid_that_allows_no_ratio_fails(fid: float) -> None:
    assert failed(good() | {"base.retain.fid": fid}) == ["retain_fid_rise"]


def test_grey_is_asked_only_of_methods_that_aim_at_it() -> None:
    metrics = {"forget.prob_worst": 0.1, "class.b.accuracy": 0.9, "base.class.b.accuracy": 0.9}
    found = judge(("a", "b"), ("a",), metrics | {"forget.pixel_variance": 0.2}, target="another class")
    assert [v.gate for v in found if v.passed] == ["forget_prob", "retain_class_drop"]
    assert not {"forget_entropy", "forget_pixel_variance"} & {v.gate for v in found}


def test_a_verdict_says_which_side_of_the_limit_passes() -> None:
    lines = {v.gate: v.line() for v in judge_version(FORGOTTEN, good())}
    assert "forget_prob: 0.1000 <= 0.11 " in lines["forget_prob"]
    assert "forget_entropy: 2.3000 >= 2.28" in lines["forget_entropy"]


class TestFile:
    def test_some_limits_replace_the_defaults(self, tmp_path: Path) -> None:
        path = tmp_path / "gates.json"
        path.write_text('{"forget_prob": 0.2, "retain_fid_rise": 1}')
        assert limits(10, read_limits(path)) == limits(10) | {"forget_prob": 0.2, "retain_fid_rise": 1}

    def test_a_ratio_is_a_limit_for_any_number_of_classes(self, tmp_path: Path) -> None:
        path = tmp_path / "gates.json"
        path.write_text('{"forget_prob_ratio": 2, "forget_entropy_ratio": 0.5}')
        found = limits(4, read_limits(path))
        assert (found["forget_prob"], found["forget_entropy"]) == (0.5, math.log(2))

    def test_without_a_file_the_defaults_follow_from_the_number_of_classes(self) -> None:
        ten, four = limits(10, read_limits(None)), limits(4)
        assert (ten["forget_prob"], ten["forget_entropy"]) == pytest.approx((0.11, 2.29), abs=1e-4)
        assert (four["forget_prob"], four["forget_entropy"]) == (1.1 / 4, 0.9945 * math.log(4))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "[]", "3", "null", "{", '{"unknown": 1}', '{"forget_prob": "0.1"}', '{"forget_prob": null}'),
            *('{"forget_prob": true}', '{"forget_prob": NaN}', '{"forget_prob": -Infinity}', '{"forget_prob": [1]}'),
            *('{"forget_prob": 1e999}', '{"forget_prob": ' + "9" * 400 + "}", '{"forget_prob": ' + "9" * 9000 + "}"),
            "[" * 100_000,
        ],
    )  # fmt: skip
    def test_one_that_holds_no_limits_is_the_users_mistake(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "gates.json"
        path.write_text(text)
        with pytest.raises(ParameterError, match=r"--gates: '.*gates\.json': "):
            read_limits(path)

    def test_a_folder_is_the_users_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError):
            read_limits(tmp_path)


@pytest.mark.integration
class TestHistory:
    @pytest.fixture
    def client(self, empty_store: Store) -> MlflowClient:
        client = MlflowClient()
        client.create_registered_model(names.GENERATORS)
        for _ in range(3):
            client.create_model_version(names.GENERATORS, "nowhere")
        return client

    def test_every_change_is_kept_in_order(self, client: MlflowClient) -> None:
        for number, previous in ((1, None), (3, 1), (1, 3)):
            gates.promote(client, versions.get(client, names.GENERATORS, number), previous)
        history = log.alias_history(client, names.GENERATORS)
        assert [(e.alias, e.previous, e.number) for e in history] == [
            ("champion", None, 1),
            ("champion", 1, 3),
            ("champion", 3, 1),
        ]
        assert log.alias_map(client, names.GENERATORS)["champion"] == 1

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{}", "not json", "[]", '{"alias": "champion", "from": "x", "to": 1, "at": 0}'),
            *('{"alias": "champion", "from": null, "to": Infinity, "at": 0}', "[" * 9_000),
        ],
    )
    def test_a_record_that_was_edited_by_hand_is_left_out(self, client: MlflowClient, text: str) -> None:
        gates.promote(client, versions.get(client, names.GENERATORS, 1), None)
        client.set_registered_model_tag(names.GENERATORS, f"{log.EVENT}0", text)
        assert [e.number for e in log.alias_history(client, names.GENERATORS)] == [1]

    def test_a_machine_whose_clock_is_ahead_does_not_win_over_later_changes(
        self, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            ahead = time.time() + 600
            patch.setattr(log.time, "time", lambda: ahead)
            assert gates.promote(client, versions.get(client, names.GENERATORS, 1), None) == 1
        assert gates.promote(client, versions.get(client, names.GENERATORS, 2), 1) == 2
        assert log.alias_map(client, names.GENERATORS)["champion"] == 2
        assert [e.number for e in log.alias_history(client, names.GENERATORS)] == [1, 2]

    def test_of_a_model_that_does_not_exist_there_is_none(self, client: MlflowClient) -> None:
        assert log.alias_history(client, names.FISHERS) == []


@pytest.mark.integration
class TestPromotion:
    @pytest.fixture
    def limits(self, tmp_path: Path) -> str:
        path = tmp_path / "wide.json"
        path.write_text(json.dumps(WIDE))
        return str(path)

    def test_a_version_that_passes_becomes_the_champion(
        self, own_store: Store, limits: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["promote", "2", "--gates", limits, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["promoted"], document["previous"]) == (True, None)
        client = MlflowClient()
        assert versions.resolve(client, names.GENERATORS, "champion").number == 2
        assert [(e.previous, e.number) for e in champions(client)] == [(None, 2)]

    def test_one_that_fails_does_not_and_the_gates_are_named(
        self, own_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "strict.json"
        path.write_text('{"forget_prob": 0.001}')
        assert cli.main(["promote", "2", "--gates", str(path)]) == 1
        out, _ = capsys.readouterr()
        assert "FAIL  forget_prob" in out
        assert "models:/sa-cvae/2 is not promoted" in out
        assert "champion" not in log.alias_map(MlflowClient(), names.GENERATORS)

    def test_a_base_is_refused(self, own_store: Store, limits: str) -> None:
        assert cli.main(["promote", "1", "--gates", limits]) == 1


class TestFakes:
    """What hides a class must fail a gate, and what has forgotten it must not."""

    @pytest.fixture(scope="class")
    def screened(self, digits_store: Store) -> dict[str, float]:
        def files(name: str, number: int) -> Path:
            return versions.files(versions.get(MlflowClient(), name, number))

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", digits_store.uri)
            base, honest = (weights.load_cvae(files(names.GENERATORS, n) / "artifacts") for n in (1, 2))
            judge = weights.load_judge(files(names.JUDGES, 1))
        models = {name: make(base, (1,), torch.Generator().manual_seed(0)) for name, make in FAKES.items()}
        return {
            name: screen(model, base, judge, (1,), torch.Generator().manual_seed(0))
            for name, model in (models | {"honest": honest}).items()
        }

    @pytest.mark.parametrize("fake", FAKES)
    def test_a_fake_fails_the_quick_screen(self, screened: dict[str, float], fake: str) -> None:
        assert screened[fake] > limits(10)["screen_prob"]

    def test_an_honest_version_passes_it(self, screened: dict[str, float]) -> None:
        assert screened["honest"] <= limits(10)["screen_prob"]
