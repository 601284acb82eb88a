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
from waiting import until

from tui.app import AmnesiaApp
from tui.messages import OpenRun
from tui.screens.confirm import ConfirmScreen
from tui.screens.tuning import TuningScreen
from tui.services.launcher import Launcher
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


async def test_a_run_from_elsewhere_has_no_log(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["going"])
        await press(pilot, "t")
        await until(lambda: "started elsewhere" in text(app), "nothing is said")
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


async def test_the_newest_grid_of_samples_is_drawn(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    grid = Image.linear_gradient("L").resize((100, 40))
    client.log_image(scene.runs["going"], grid, key="samples", step=7)
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await on_run(pilot, scene.runs["going"])
        await press(pilot, "t", "t")
        await until(lambda: "▀" in text(app), "no grid")


async def test_pictures_of_a_version_are_listed_and_shown(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    client.log_image(scene.runs["base"], Image.linear_gradient("L"), artifact_file="figures/loss.png")
    client.log_text(scene.runs["base"], io.StringIO("no picture").read(), "figures/broken.png")
    app = application(scene.uri, tmp_path, tab="images")
    async with opened(app) as pilot:
        registry(app).go_to("1")
        await until(lambda: "figures/loss.png" in text(app), "it is not listed")
        registry(app).query_one("#image-list").focus()
        await press(pilot, "enter")
        await until(lambda: "cannot be shown" in text(app) or "▀" in text(app), "it was not opened")
        await press(pilot, "escape", "down", "enter")
        await until(lambda: "▀" in text(app), "it is not drawn")


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
