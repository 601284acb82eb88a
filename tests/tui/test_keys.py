"""Keys of the screens that change what is shown: images over steps, columns, addresses, letters typed ahead."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from scenes import Scene
from screen import application, opened, press, runs, select, text, toasts
from textual import events
from textual.screen import Screen
from waiting import until

from tui.messages import OpenRun
from tui.screens.metric import MetricScreen
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList


@pytest.mark.parametrize("screen", ["registry", "runs", "metric"])
async def test_letters_typed_ahead_belong_to_the_line_that_was_opened(
    scene: Scene, tmp_path: Path, screen: str
) -> None:
    app = application(scene.uri, tmp_path, start="runs" if screen == "runs" else "registry")
    async with opened(app) as pilot:
        if screen == "metric":
            await press(pilot, "m")
        shown: Screen[object] = app.screen
        # Without a pause: `p` and `l` would ask and launch, if they arrived as commands.
        for key, letter in (("slash", "/"), *((c, c) for c in "pla"), ("less_than_sign", "<"), ("1", "1")):
            app.post_message(events.Key(key, letter))
        await until(lambda: shown.query_one(Prompt).value == "pla<1", "the line has lost letters")
        assert app.screen is shown
        assert isinstance(shown, MetricScreen) == (screen == "metric")


async def test_commas_and_full_stops_walk_over_the_steps_of_samples(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    for step in (7, 12, 100):
        client.log_image(scene.runs["going"], Image.new("L", (40, 20), step), key="samples", step=step)
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        app.post_message(OpenRun(scene.runs["going"]))
        await until(lambda: runs(app).item and runs(app).item.key == scene.runs["going"], "not selected")
        await press(pilot, "t", "t")
        for key, shown in (
            ("", "step 100, 3 of 3"),
            ("comma", "step 12, 2 of 3"),
            ("comma", "step 7, 1 of 3"),
            ("comma", "step 7, 1 of 3"),
            ("full_stop", "step 12, 2 of 3"),
        ):
            await press(pilot, *([key] if key else []))
            title = f"samples, {shown}"
            await until(lambda title=title: title in text(app) and "▀" in text(app), f"not {title}")
        await press(pilot, "t", "t")
        files = runs(app).query_one("#file-list", RowList)
        await until(lambda: len(files.rows) == 3, "the files are not listed")
        listed = re.findall(r"images/samples, step (\d+)", text(app))
        assert listed == ["7", "12", "100"]


async def test_columns_of_runs_are_chosen_and_remembered(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        await press(pilot, "C")
        listed = app.screen.query_one("#columns", RowList)
        for key in ("begun", "param ewc_lambda"):
            assert listed.go_to(key)
            await press(pilot, "space")
        assert "✓ param ewc_lambda" in text(app)
        await press(pilot, "enter")
        await press(pilot, "slash", *"trial", "enter")
        heading, line = (
            next(line for line in text(app).split("\n") if word in line) for word in (" state ", "trial 2")
        )
        assert "ewc_lambda" in heading
        assert "100.0" in line
        assert "begun" not in heading
    kept = json.loads((tmp_path / "state" / "tui.json").read_text())["columns"]["runs"]
    assert "param ewc_lambda" in kept
    assert "begun" not in kept


async def test_the_copied_address_is_on_the_server_that_shows_the_store(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "Y")
        assert app.clipboard == "http://127.0.0.1:5000/#/models/sa-cvae/versions/2"
        assert "no MLflow server shows this store now" in toasts(app)
        # A process with the command line of one.
        words = ("mlflow", "server", "--backend-store-uri", scene.uri, "--port=5017")
        command = [sys.executable, "-c", "print(flush=True); input()", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            await press(pilot, "Y", "2", "Y")
            server.communicate(b"\n")
        pages = [line for line in toasts(app).split("\n") if ":5017/" in line]
        assert [page.rpartition("/#/")[2].partition("/")[0] for page in pages] == ["models", "experiments"]


async def test_the_palette_lists_no_keys_of_the_line_for_typing(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await press(pilot, "slash")
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert not [title for title in titles if "Delete" in title]
