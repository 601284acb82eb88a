"""Runs and studies on the screen."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from scenes import Scene
from screen import SIZES, WIDE, application, opened, press, registry, runs, text, toasts
from textual.pilot import Pilot
from textual.widgets import Input
from waiting import until

from sa_mlops.registry import last_words, names
from tui.app import AmnesiaApp
from tui.messages import OpenRun
from tui.screens.confirm import ConfirmScreen
from tui.screens.tuning import TuningScreen
from tui.services.launcher import Launcher
from tui.services.records import Run, Snapshot, progress
from tui.widgets.ink import Ink
from tui.widgets.rows import RowList
from tui.widgets.runline import activity
from tui.widgets.scatter import Scatter


async def on_run(pilot: Pilot[None], run_id: str) -> AmnesiaApp:
    """The runs, with the cursor on one."""
    app = pilot.app
    assert isinstance(app, AmnesiaApp)
    app.post_message(OpenRun(run_id))
    await until(lambda: (item := runs(app).item) is not None and item.key == run_id, "it is not selected")
    await pilot.pause()
    return app


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_shows_how_far_it_is(scene: Scene, tmp_path: Path, size: tuple[int, int]) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app, size):
        line = next(line for line in text(app).split("\n") if "forget 3" in line)
    assert "◐ running" in line
    assert "40%" in line


async def test_the_error_of_a_failed_run_stands_in_front(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["failed"])
        assert "✗ a term is not finite at step 12: loss" in text(app)


async def test_curves_of_marked_runs_are_drawn_together(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["base"])
        await press(pilot, "space")
        await on_run(pilot, scene.runs["going"])
        await until(lambda: "a forget 3" in text(app) and "b base" in text(app), "not both are drawn")
        await press(pilot, "g")
        await until(lambda: "forget  log" in text(app), "no logarithmic scale")


async def test_the_log_of_a_run_from_elsewhere_is_the_one_it_logged_when_it_failed(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["going"])
        await press(pilot, "t")
        await until(lambda: "started elsewhere" in text(app), "nothing is said")
        await on_run(pilot, scene.runs["failed"])
        client.log_text(scene.runs["failed"], "the last words", last_words.ARTIFACT)
        app.action_reload()
        runs(app).follow()
        await until(lambda: "the last words" in text(app), "the logged end of standard error is not shown")
        await on_run(pilot, scene.runs["going"])
        await press(pilot, "x")
        assert "only active runs that were started here can be cancelled" in toasts(app)


async def test_the_log_is_that_of_the_selected_launch(
    scene: Scene, tmp_path: Path, starter: Launcher
) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    app.workspace.launcher = starter
    first = starter.submit(("child", "fail"), "base", "cpu")
    second = starter.submit(("child", "stay"), "forget", "cuda:0")
    async with opened(app) as pilot:
        await press(pilot, "t")
        await until(lambda: len([s for s in starter.launches() if s.run_id]) == 2, "they did not start")
        app.post_message(OpenRun(first.key))
        await until(lambda: "trouble" in text(app), "not its log")
        await until(lambda: "failed with status 3" in text(app), "not its error")
        app.post_message(OpenRun(second.key))
        await until(lambda: "child stay" in text(app) and "trouble" not in text(app), "not the other's log")
        await press(pilot, "x")
        assert isinstance(app.screen, ConfirmScreen)
        await press(pilot, "y")
        await until(lambda: starter.look(starter.launches()[1].launch).state == "cancelled", "it goes on")


async def test_pictures_of_a_version_are_listed_and_shown(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    client.log_image(scene.runs["base"], Image.linear_gradient("L"), artifact_file="figures/loss.png")
    client.log_text(scene.runs["base"], io.StringIO("no picture").read(), "figures/broken.png")
    app = application(scene.uri, tmp_path, tab="images")
    async with opened(app) as pilot:
        registry(app).go_to("1")
        await until(lambda: "broken" in text(app), "it is not listed")
        registry(app).query_one("#image-list").focus()
        await press(pilot, "enter")
        await until(lambda: "broken   1 of 2" in text(app) and "cannot be shown" in text(app), "no excuse")
        await press(pilot, "right")
        await until(lambda: "loss   2 of 2" in text(app) and "▀" in text(app), "the next one is not drawn")


async def test_from_a_run_to_its_version(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["forget 1"])
        await press(pilot, "v")
        await until(lambda: app.current_mode == "registry", "the registry is not shown")
        await until(lambda: (v := registry(app).version) is not None and v.number == 2, "not its version")


async def test_the_study_is_a_scatter_with_its_front(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="tuning")
    async with opened(app, WIDE) as pilot:
        await until(lambda: "small · 3 trials" in text(app), "no study")
        assert isinstance(app.screen, TuningScreen)
        scatter = app.screen.query_one(Scatter)
        scatter.focus()
        seen = set()
        for key in ("home", "end"):
            await press(pilot, key)
            assert scatter.selected is not None
            seen.add(scatter.selected.key)
            assert "● on the front" in text(app)
        assert seen == {scene.runs["trial 0"], scene.runs["trial 1"]}
        await press(pilot, "p")
        assert "this trial has no version" in toasts(app)


async def test_arrows_walk_to_trials_behind_the_front(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="tuning")
    async with opened(app, WIDE) as pilot:
        await until(lambda: "small · 3 trials" in text(app), "no study")
        assert isinstance(app.screen, TuningScreen)
        scatter = app.screen.query_one(Scatter)
        scatter.focus()
        keys = set()
        for key in ("home", "down", "right", "up", "left"):
            await press(pilot, key)
            assert scatter.selected is not None
            keys.add(scatter.selected.key)
        assert scene.runs["trial 2"] in keys


async def test_a_run_that_has_done_its_steps_measures(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    client.log_metric(scene.runs["going"], "progress.step", 100, step=100)
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app):
        line = next(line for line in text(app).split("\n") if "forget 3" in line)
    assert "measuring" in line
    assert "100%" not in line


def test_a_comparison_shows_the_share_of_its_rows_and_the_row_that_is_made() -> None:
    tags = {names.STAGE: "compare", names.STEPS: "100", "mlflow.runName": "compare 1"}
    top = Run(run_id="a", tags=tags, metrics={"progress/step": 17.0})
    row = Run(run_id="b", tags={names.STAGE: "forget", "mlflow.parentRunId": "a", "mlflow.runName": "salun"})
    found = Snapshot(runs={"a": top, "b": row})
    assert progress(found, top) == (top, 0.17)
    line = activity(found, top, Ink(*["#808080"] * 5)).plain
    assert "compare 1: salun" in line
    assert "17%" in line


async def test_a_run_that_reused_a_version_shows_the_curves_of_its_making(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    client.set_tag(scene.runs["failed"], names.REUSED, "models:/sa-cvae/1")
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["failed"])
        await until(lambda: "curves of the run that made it" in text(app), "nothing is said")
        await until(lambda: "a forget broken 5" in text(app), "no curve")


async def test_runs_are_filtered_with_negation_and_sorted(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await press(pilot, "slash")
        runs(app).query_one(Input).value = "objective.gap<0.25 -ewc_lambda=10.0"
        await press(pilot, "enter")
        assert [item.run.name for item in runs(app).runs.rows if item.run] == ["trial 2"]
        await press(pilot, "escape", *"ooooo")
        assert [item.run.name for item in runs(app).runs.rows if item.run] == [
            "trial 1",
            "trial 2",
            "trial 0",
        ]


async def test_a_chart_fills_the_screen_and_its_cursor_reads_values(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["base"])
        await until(lambda: "a base 5" in text(app), "no curve")
        await press(pilot, "f")
        await until(lambda: "move the cursor" in text(app), "it is not opened")
        await press(pilot, "right", "right")
        await until(lambda: "step 1   a base 50" in text(app), "no values under the cursor")


async def test_a_file_of_a_run_is_opened(scene: Scene, tmp_path: Path, client: MlflowClient) -> None:
    client.log_text(scene.runs["failed"], "its content", "notes/plan.txt")
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["failed"])
        await press(pilot, "t", "t", "t", "t")
        await until(lambda: "notes/plan.txt" in text(app), "it is not listed")
        files = runs(app).query_one("#file-list", RowList)
        files.focus()
        await until(lambda: app.focused is files, "it has no focus")
        assert files.go_to("notes/plan.txt")
        await press(pilot, "enter")
        await until(lambda: "its content" in text(app), "it is not opened")


async def test_the_queue_goes_on_after_the_ui(scene: Scene, tmp_path: Path, starter: Launcher) -> None:
    starter.submit(("child", "stay"), "base", "cpu")
    second = starter.submit(("child", "fail"), "forget", "cpu")
    starter.tick()
    app = application(scene.uri, tmp_path, start="runs")
    app.workspace.launcher = starter
    async with opened(app) as pilot:
        await until(lambda: app.workspace.queued == 1, "the queue is not seen")
        await press(pilot, "q")
        assert "1 run is queued" in text(app)
        await press(pilot, "n")
        app.exit()
    starter.cancel(starter.launches()[0].launch.key)
    await until(
        lambda: "failed" in [t.state for t in starter.launches() if t.launch.key == second.key],
        "the queued run did not start",
    )
