"""Whatever a store holds and whatever becomes of it: no crash, no broken screen."""

from __future__ import annotations

import shutil
from itertools import cycle
from pathlib import Path

import pytest
import scenes
from mlflow.tracking import MlflowClient
from rich.cells import cell_len
from scenes import HOSTILE, Scene
from screen import SIZES, SMALL, WIDE, application, opened, press, registry, runs, text
from textual.widgets import TabbedContent, TabPane
from waiting import until

from tui.plain import clean, lines
from tui.widgets.facts import pairs
from tui.widgets.rows import RowList


@pytest.mark.parametrize("word", HOSTILE, ids=("markup", "escapes", "lines", "wide", "long"))
def test_text_from_the_store_is_one_clean_line(word: str) -> None:
    shown = clean(word, 60)
    assert shown.isprintable()
    assert cell_len(shown) <= 60
    assert all(line.isprintable() for line in lines(word).split("\n"))


@pytest.mark.parametrize("word", HOSTILE, ids=("markup", "escapes", "lines", "wide", "long"))
def test_markup_is_shown_as_it_is_written(word: str) -> None:
    assert clean(word, 30) in pairs({"key": word}).plain or clean(word, 400) in pairs({"key": word}).plain


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_walked_past(
    scene: Scene, tmp_path: Path, client: MlflowClient, size: tuple[int, int]
) -> None:
    scenes.hostile(client)
    app = application(scene.uri, tmp_path)
    async with opened(app, size) as pilot:
        detail = registry(app).query_one("#detail", TabbedContent)
        ways = cycle(("up", "down"))
        for pane in [pane.id or "" for pane in detail.query(TabPane) if pane.id != "samples"]:
            detail.active = pane
            await press(pilot, *[next(ways)] * 6)
            assert not [c for c in text(app) if not c.isprintable() and c != "\n"]
        await press(pilot, "2")
        panes = runs(app).query_one("#run-tabs", TabbedContent)
        for pane in [pane.id or "" for pane in panes.query(TabPane)]:
            panes.active = pane
            await press(pilot, "home", *["down"] * 6)
            assert not [c for c in text(app) if not c.isprintable() and c != "\n"]
            for line in text(app).split("\n"):
                assert line.isprintable()


async def test_every_line_is_as_wide_as_the_screen(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    scenes.hostile(client)
    app = application(scene.uri, tmp_path)
    async with opened(app, SMALL):
        widths = {strip.cell_length for strip in app.screen._compositor.render_strips()}
    assert widths == {80}


async def test_a_storm_of_resizes(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        for width, height in ((1, 1), (200, 60), (20, 3), (80, 24), (3, 80), (250, 10), (80, 24)):
            await pilot.resize_terminal(width, height)
            await press(pilot, "1", "2", "3")
        await press(pilot, "1")
        await until(lambda: "forget (1)" in text(app), "the lineage is not back")


async def test_a_store_that_vanishes_leaves_its_data_marked_as_old(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        (scene.folder / "mlflow.db").rename(scene.folder / "away.db")
        await press(pilot, "r")
        await until(lambda: "○ stale" in text(app), "it is not marked")
        assert "forget (1)" in text(app)
        assert not (scene.folder / "mlflow.db").exists()
        await press(pilot, "e")
        await until(lambda: "mlflow.db has disappeared" in text(app), "the error is not told")
        await press(pilot, "escape")
        shutil.copy(scene.folder / "away.db", scene.folder / "mlflow.db")
        await press(pilot, "r")
        await until(lambda: "● live" in text(app), "it is not live again")


@pytest.mark.parametrize(
    "content", [b"no database at all " * 500, b"SQLite format 3\x00" + b"\xff" * 5000], ids=("text", "broken")
)
async def test_a_file_that_is_no_store_is_an_error_in_the_status_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    app = application(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    async with opened(app):
        await until(lambda: "○ stale" in text(app), "nothing is said about it")
    assert (tmp_path / "mlflow.db").read_bytes() == content


async def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    app = application("http://127.0.0.1:9", tmp_path)
    async with opened(app, WIDE) as pilot:
        await until(lambda: "○ stale" in text(app), "nothing is said about it")
        await press(pilot, "2", "3", "1")


async def test_new_versions_appear_and_the_cursor_stays(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        registry(app).go_to("2")
        await pilot.pause()
        scenes.hostile(client)
        await until(lambda: len(app.workspace.snapshot.versions) > 7, "they do not appear")
        await pilot.pause()
        tree = registry(app).query_one("#lineage", RowList)
        assert tree.selected_key == "models:/sa-cvae/2"
