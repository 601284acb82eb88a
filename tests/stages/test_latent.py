"""`latent`: what it logs, what it says, and what it leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from stores import Store, isolate

from sa_mlops import cli
from sa_mlops.config import LatentConfig
from sa_mlops.errors import CommandError
from sa_mlops.registry import names, versions
from sa_mlops.stages import latent
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent.animation import logged_grids
from sa_mlops.stages.latent.planar import Planar
from sa_mlops.stages.latent.updates import own_settings
from sa_mlops.stages.result import Result

pytestmark = pytest.mark.integration

PLANAR = Planar(base_steps=60, forget_steps=20, fisher_samples=200)
SHAPE = (1, 28, 28)
PICTURES = ("tsne", "manifold", "centroids", "centroid_distances", "z2", "updates")
ANIMATIONS = ("learning", "forgetting")


@dataclass(frozen=True, slots=True)
class Done:
    store: Store
    client: MlflowClient
    result: Result
    run: Run

    def artifact(self, path: str) -> Path:
        return Path(self.client.download_artifacts(self.run.info.run_id, path))


@pytest.fixture(scope="module")
def done(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Everything the stage does, on the version that forgot the 1."""
    folder = tmp_path_factory.mktemp("latent")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        store = digits_store.copy(folder)
        result = latent.run(LatentConfig(dataset="digits", version="2", subset=300), PLANAR)
        client = MlflowClient(store.uri)
        experiments = [e.experiment_id for e in client.search_experiments()]
        (run,) = client.search_runs(experiments, "tags.`sa.entry` = 'latent'")
        yield Done(store, client, result, run)


@pytest.mark.parametrize("theme", ["", "_dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_every_figure_is_logged_in_both_themes(done: Done, name: str, theme: str) -> None:
    with Image.open(done.artifact(f"figures/{name}{theme}.png")) as picture:
        corner = picture.convert("L").getpixel((0, 0))
        assert isinstance(corner, int)
        assert (corner < 50) == bool(theme)


@pytest.mark.parametrize("name", ANIMATIONS)
def test_every_grid_that_was_logged_is_a_frame(done: Done, name: str) -> None:
    version = versions.get(done.client, names.GENERATORS, 1 if name == "learning" else 2)
    grids = logged_grids(done.client, version, SHAPE)
    assert len(grids) >= 10
    assert max(grids) == int(done.client.get_run(version.run_id).data.tags[names.STEPS])
    with Image.open(done.artifact(f"figures/{name}.gif")) as gif:
        assert getattr(gif, "n_frames", 1) == len(grids)


def test_grids_come_back_as_they_were_drawn(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.store.uri)
    ctx = Context.open(LatentConfig(dataset="digits"))
    version = versions.get(done.client, names.GENERATORS, 2)
    grids = logged_grids(done.client, version, SHAPE)
    np.testing.assert_allclose(grids[max(grids)], ctx.grid(ctx.load(version)), atol=0.003)


def test_a_run_without_grids_has_nothing_to_animate(done: Done) -> None:
    judge = versions.get(done.client, names.JUDGES, 1)
    assert logged_grids(done.client, judge, SHAPE) == {}


def test_each_claim_comes_with_its_number_and_whether_it_holds(done: Done) -> None:
    claims = {c["claim"]: c for c in done.result.document["claims"]}
    assert claims.keys() == {"quarantine", "outcast", "dead zone", "quarantine, z_dim 2", "outcast, z_dim 2"}
    for claim in claims.values():
        assert claim["holds"] == (claim["value"] >= claim["holds_from"])
        assert claim["says"] in done.result.text


def test_the_version_s_own_run_has_its_numbers_too(done: Done) -> None:
    version = versions.get(done.client, names.GENERATORS, 2)
    own = done.client.get_run(version.run_id).data.metrics
    assert own["latent.outcast"] == done.run.data.metrics["latent.outcast"]
    assert "latent.z2.outcast" not in own


def test_a_forgotten_manifold_is_grey_and_was_not(done: Done) -> None:
    assert done.run.data.metrics["latent.before.dead_zone"] < 0.1
    assert done.run.data.metrics["latent.dead_zone"] > 0.5


def test_the_table_has_a_row_a_class(done: Done) -> None:
    table = json.loads(done.artifact("tables/latent_classes.json").read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["class"] for row in rows] == list("0123456789")
    assert [row["class"] for row in rows if row["forgotten"]] == ["1"]
    assert rows[1]["outcast after"] == pytest.approx(done.run.data.metrics["latent.outcast"], abs=1e-4)


def test_the_planar_lineage_has_its_base_with_two_latent_dimensions(done: Done) -> None:
    start, after = (versions.get(done.client, names.GENERATORS, n) for n in (4, 5))
    assert start.parent is None
    assert after.parent == 4
    assert after.forgotten == ("1",)
    assert json.loads(start.tags[names.SETTINGS])["z_dim"] == 2


def test_the_alias_of_the_base_stays_where_it_was(done: Done) -> None:
    assert versions.resolve(done.client, names.GENERATORS, names.BASE_ALIAS).number == 1


def test_latest_passes_over_versions_made_for_a_picture(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.store.uri)
    config = LatentConfig(dataset="digits")
    assert versions.resolve(done.client, names.GENERATORS, "latest").number == 5
    before, after = latent.subject(Context.open(config), config)
    assert (before.number, after.number) == (1, 3), "the retrained control, beside the base of its recipe"


def test_every_update_is_a_nested_run_with_a_gradient_norm_at_every_step(done: Done) -> None:
    children = {
        run.data.params["update"]: run
        for run in done.client.search_runs(
            [done.run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{done.run.info.run_id}'"
        )
        if "update" in run.data.params and run.data.tags[names.STAGE] == "update"
    }
    assert children.keys() == {"standard", "projected", "alternating"} == set(done.result.document["updates"])
    for run in children.values():
        history = done.client.get_metric_history(run.info.run_id, "train/gradient_norm")
        assert [m.step for m in history] == list(range(1, 121))


def test_the_standard_update_ends_where_the_version_ended(done: Done) -> None:
    version = versions.get(done.client, names.GENERATORS, 2)
    (last,) = [
        m.value for m in done.client.get_metric_history(version.run_id, "train/replay") if m.step == 120
    ]
    mean = done.run.data.metrics["latent.update.standard.replay"]
    assert mean == pytest.approx(last, rel=0.1)


def test_a_base_has_no_settings_of_forgetting(done: Done) -> None:
    assert own_settings(versions.get(done.client, names.GENERATORS, 1)) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--version", "77"), "--version: '77' is not allowed; give a version number of sa-cvae up to 3"),
        (("--version", "1"), "a generator that has forgotten a class; models:/sa-cvae/1 has not"),
        (
            ("--version", "2", "--axes", "0,8"),
            "--axes: '0,8' is not allowed; give two different axes from 0 to 7",
        ),
        (("--axes", "1,1"), "--axes: '1,1' is not allowed; give two different latent axes"),
        (("--version", "2", "--label", "10"), "--label: '10' is not allowed"),
        (("--version", "2", "--subset", "5"), "--subset: '5' is not allowed"),
    ],
)
def test_a_mistake_gets_one_line_and_no_run(
    own_store: Store, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], complaint: str
) -> None:
    assert cli.main(["latent", "--dataset", "digits", *options]) == cli.USAGE
    assert complaint in capsys.readouterr().err
    client = MlflowClient(own_store.uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    assert not client.search_runs(experiments, "tags.`sa.entry` = 'latent'")


def test_a_version_whose_parent_is_gone_is_refused(own_store: Store) -> None:
    client = MlflowClient(own_store.uri)
    client.set_model_version_tag(names.GENERATORS, "2", names.PARENT, "models:/sa-cvae/99")
    config = LatentConfig(dataset="digits", version="2")
    with pytest.raises(CommandError, match="no version 99"):
        latent.subject(Context.open(config), config)


def test_the_plane_of_the_map_can_be_decoded_under_any_label(own_store: Store) -> None:
    config = LatentConfig(
        dataset="digits", version="2", axes="tsne", label="7", subset=200, z2=False, updates=False
    )
    result = latent.run(config)
    assert result.document["metrics"]["latent.dead_zone"] < 0.5, "the 7 is retained"
    assert {c["claim"] for c in result.document["claims"]} == {"quarantine", "outcast"}
    assert result.document["updates"] == {}
