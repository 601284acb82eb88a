"""What a stage leaves behind: tags, links, metrics, aliases and pictures, as users were promised."""

from __future__ import annotations

import json
import re

import pytest
from mlflow.tracking import MlflowClient
from stores import FORGET, Store

from sa_mlops import cli
from sa_mlops.registry import log, names, versions
from sa_mlops.registry.version import Version

pytestmark = pytest.mark.integration

ALL = [(names.GENERATORS, n) for n in (1, 2, 3)] + [(names.FISHERS, 1), (names.JUDGES, 1), (names.JUDGES, 2)]
CURVES = ("forget", "replay", "ewc", "gradient_norm")
PER_CLASS = [f"class.{d}.{kind}" for d in range(10) for kind in ("prob", "accuracy")]
RETAIN = ["retain.accuracy", "retain.accuracy_min", "retain.fid", "retain.precision", "retain.recall"]
FORGOTTEN = [
    *("forget.prob", "forget.entropy", "forget.accuracy", "forget.prob_plain", "forget.entropy_plain"),
    "forget.pixel_variance",
]


@pytest.fixture
def client(shared_store: Store) -> MlflowClient:
    return MlflowClient()


def get(client: MlflowClient, name: str, number: int) -> Version:
    return versions.get(client, name, number)


@pytest.mark.parametrize(("name", "number"), ALL)
def test_every_version_says_where_it_comes_from(client: MlflowClient, name: str, number: int) -> None:
    tags = get(client, name, number).tags
    assert tags["sa.dataset"] == "digits"
    assert tags["sa.classes"] == "0,1,2,3,4,5,6,7,8,9"
    assert re.fullmatch("[0-9a-f]{32}", tags["sa.data_md5"])
    assert re.fullmatch("[0-9a-f]{12}", tags["sa.config"])
    assert tags["sa.seed"] == "0"
    assert re.fullmatch("([0-9a-f]{40}(-dirty)?)?", tags["sa.git_commit"])


@pytest.mark.parametrize(
    ("name", "number", "tags"),
    [
        (names.GENERATORS, 1, {"sa.stage": "base", "sa.forgotten": "", "sa.judge": "models:/sa-judge/1"}),
        (
            names.GENERATORS,
            2,
            {
                "sa.stage": "forget",
                "sa.forgotten": "1",
                "sa.parent": "models:/sa-cvae/1",
                "sa.fim": "models:/sa-fim/1",
                "sa.judge": "models:/sa-judge/1",
                "sa.method": "selective-amnesia",
                "sa.target": "noise",
                "sa.net": "mlp",
                "sa.forgotten_last": "1",
            },
        ),
        (names.GENERATORS, 3, {"sa.stage": "retrain", "sa.forgotten": "1", "sa.judge": "models:/sa-judge/1"}),
        (names.FISHERS, 1, {"sa.stage": "fim", "sa.forgotten": "", "sa.parent": "models:/sa-cvae/1"}),
        (names.JUDGES, 1, {"sa.stage": "judge", "sa.role": "calibrated"}),
        (names.JUDGES, 2, {"sa.stage": "judge", "sa.role": "plain"}),
    ],
)
def test_tags_name_the_stage_and_the_sources_of_a_version(
    client: MlflowClient, name: str, number: int, tags: dict[str, str]
) -> None:
    found = get(client, name, number).tags
    assert tags.items() <= found.items()
    assert ("sa.parent" in found) == ("sa.parent" in tags)


def test_the_settings_behind_the_hash_are_on_the_version(client: MlflowClient) -> None:
    settings = json.loads(get(client, names.GENERATORS, 2).tags["sa.settings"])
    assert (settings["forget"], settings["optimisation"]["steps"]) == ([1], 120)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, [*PER_CLASS, *RETAIN, "base.test_nelbo", "time.base"]),
        (2, [*PER_CLASS, *RETAIN, *FORGOTTEN, "time.forget", *(f"base.{m}" for m in RETAIN)]),
        (3, [*PER_CLASS, *RETAIN, *FORGOTTEN, "time.retrain"]),
    ],
)
def test_a_generators_metrics_are_on_its_run_and_on_its_model(
    client: MlflowClient, number: int, expected: list[str]
) -> None:
    version = get(client, names.GENERATORS, number)
    on_run = client.get_run(version.run_id).data.metrics
    assert [m for m in expected if m not in on_run] == []
    on_model = {m.key: m.value for m in client.get_logged_model(version.model_id).metrics or ()}
    assert {m: on_model.get(m) for m in expected if not m.startswith("base.retain")} == {
        m: on_run[m] for m in expected if not m.startswith("base.retain")
    }


def test_the_small_forgetting_has_worked(client: MlflowClient) -> None:
    metrics = client.get_run(get(client, names.GENERATORS, 2).run_id).data.metrics
    assert metrics["base.class.1.prob"] > 0.3
    assert metrics["forget.prob"] <= 0.11
    assert metrics["forget.entropy"] >= 2.29
    assert metrics["retain.accuracy"] > metrics["base.retain.accuracy"] - 0.05


def test_the_step_is_linked_to_its_inputs_and_outputs(client: MlflowClient) -> None:
    made = get(client, names.GENERATORS, 2)
    run = client.get_run(made.run_id)
    read = {i.model_id for i in run.inputs.model_inputs}
    assert read >= {get(client, names.GENERATORS, 1).model_id, get(client, names.FISHERS, 1).model_id}
    assert [o.model_id for o in run.outputs.model_outputs] == [made.model_id]


def test_the_fisher_run_read_the_base_and_is_nested_in_the_command_that_needed_it(
    client: MlflowClient,
) -> None:
    fisher = client.get_run(get(client, names.FISHERS, 1).run_id)
    assert [i.model_id for i in fisher.inputs.model_inputs] == [get(client, names.GENERATORS, 1).model_id]
    assert fisher.data.metrics["time.fim"] > 0
    assert fisher.data.tags["mlflow.parentRunId"] == get(client, names.GENERATORS, 2).run_id


def test_base_and_latest_are_aliases_and_there_is_no_champion_yet(client: MlflowClient) -> None:
    assert versions.resolve(client, names.GENERATORS, "base").number == 1
    assert versions.resolve(client, names.GENERATORS, "latest").number == 3
    assert "champion" not in log.alias_map(client, names.GENERATORS)


@pytest.mark.parametrize(("name", "number"), ALL)
def test_every_run_is_finished_and_knows_its_data(client: MlflowClient, name: str, number: int) -> None:
    version = get(client, name, number)
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert {d.dataset.digest for d in run.inputs.dataset_inputs} == {version.tags["sa.data_md5"]}


@pytest.mark.parametrize(
    ("name", "number", "pictures"),
    [
        (names.GENERATORS, 1, {"samples.png", "loss.png"}),
        (names.GENERATORS, 2, {"before_after.png", "loss.png", "gradient_norm.png"}),
        (names.FISHERS, 1, {"fisher.png"}),
        (names.JUDGES, 1, {"controls.png", "reliability.png"}),
    ],
)
def test_the_pictures_that_the_description_names_are_on_the_run(
    client: MlflowClient, name: str, number: int, pictures: set[str]
) -> None:
    version = get(client, name, number)
    assert {a.path for a in client.list_artifacts(version.run_id, "figures")} >= {
        f"figures/{p}" for p in pictures
    }
    for named in re.findall(r"figures/\w+\.png", version.description):
        assert named.removeprefix("figures/") in pictures


def test_curves_and_sample_grids_are_logged_over_the_steps(client: MlflowClient) -> None:
    run_id = get(client, names.GENERATORS, 2).run_id
    for term in CURVES:
        assert client.get_metric_history(run_id, f"train/{term}")[-1].step == 120
    assert len([a for a in client.list_artifacts(run_id, "images") if a.path.endswith(".png")]) > 5


@pytest.mark.parametrize("role", ["calibrated", "plain"])
def test_judges_are_good_and_only_the_calibrated_one_is_unsure_off_the_digits(
    client: MlflowClient, role: str
) -> None:
    version = versions.find(client, names.JUDGES, {names.ROLE: role})
    assert version is not None
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["judge.accuracy"] >= 0.97
    unsure = [metrics[f"control.{c}.entropy"] >= 2.25 for c in ("grey", "noise", "gaussian")]
    assert all(unsure) is (role == "calibrated")


class TestReuse:
    def test_a_second_run_makes_nothing_and_names_the_versions_it_reuses(
        self, own_store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client = MlflowClient()
        assert cli.main([*FORGET, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["version"] == "models:/sa-cvae/2"
        assert [len(list(versions.all_versions(client, n))) for n in names.MODELS] == [3, 1, 2]
        newest = client.search_runs(["1"], order_by=["attributes.start_time DESC"], max_results=1)[0]
        assert newest.data.tags["sa.reused"] == "models:/sa-cvae/2"
        first = client.get_run(get(client, names.GENERATORS, 2).run_id)
        assert newest.data.metrics["forget.prob"] == first.data.metrics["forget.prob"]

    @pytest.mark.parametrize(
        ("change", "made"),
        [
            ((), 0),
            (("--fresh", "false"), 0),
            (("--fresh",), 1),
            (("--fisher-samples", "300"), 1),
            (("--seed", "1"), 1),
        ],
    )  # fmt: skip
    def test_only_fresh_or_other_settings_make_a_new_version(
        self, own_store: Store, change: tuple[str, ...], made: int
    ) -> None:
        command = ("fim", "--dataset", "digits", "--from-version", "1", "--fisher-samples", "2000")
        assert cli.main([*command, *change]) == 0
        assert len(list(versions.all_versions(MlflowClient(), names.FISHERS))) == 1 + made
