"""Tables over many versions, notes on one, and keys of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from scenes import Scene
from screen import SMALL, application, opened, press, registry, runs, select, text, toasts
from textual.color import Color
from waiting import until

from sa_mlops.comparison.reading import ARTIFACT, read
from sa_mlops.registry import names, versions
from tui.screens.methods import MethodsScreen
from tui.screens.metric import MetricScreen
from tui.services import importance
from tui.widgets.ink import SERIES, SERIES_LIGHT, Ink
from tui.widgets.rows import RowList
from tui.widgets.scatter import Scatter

ROWS = [
    {"method": method, "class": c, "seed": 0, "forget.prob": p, "retain.accuracy": kept, "seconds": 2.0,
     "needs_data": False, "target": "noise", "version": f"models:/sa-cvae/{number}", "command": "sa-mlops forget"}
    for method, c, p, kept, number in (
        ("base", "1", 0.9, 0.99, 1), ("slow", "1", 0.3, 0.98, 2), ("slow", "8", 0.1, 0.96, 3),
        ("ssd", "1", 0.1, 0.95, 3),
    )
]  # fmt: skip


def compared(client: MlflowClient) -> str:
    """A finished comparison with its table."""
    tags = {names.STAGE: "compare", "sa.entry": "compare", "mlflow.runName": "compare 1,8"}
    run_id = str(client.create_run("1", tags=tags).info.run_id)
    client.log_table(run_id, pd.DataFrame(ROWS), ARTIFACT)
    client.set_terminated(run_id)
    return run_id


async def test_a_comparison_opens_as_a_table_of_methods(
    scene: Scene, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = compared(client)
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app) as pilot:
        runs(app).select(run_id)
        await press(pilot, "enter")
        await until(lambda: "2 methods" in text(app), "the table is not shown")
        screen = app.screen
        assert isinstance(screen, MethodsScreen)
        assert [line.name for line in screen.lines.rows] == ["base", "slow", "ssd"]
        assert "0.2000" in text(app)  # the mean of the classes 1 and 8
        await press(pilot, "o", "home")
        assert [line.name for line in screen.lines.rows] == ["ssd", "slow", "base"]
        await press(pilot, "down", "right")
        assert [line.version for line in screen.lines.rows] == [3, None, 3, 2, 1]
        await press(pilot, "end", "up", "enter")
        await until(lambda: registry(app).version and registry(app).version.number == 2, "v2 is not shown")


@pytest.mark.parametrize("given", ["[]", "{}", '{"columns": ["method"], "data": [["ssd"]]}', "nothing"])
def test_another_file_is_no_table(given: str) -> None:
    with pytest.raises(ValueError, match=r"no table|Expecting"):
        read(given)


async def test_one_metric_over_the_versions(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 3)
        await press(pilot, "m")
        screen = app.screen
        assert isinstance(screen, MetricScreen)
        assert screen.lines.selected
        assert screen.lines.selected.version.number == 3
        await press(pilot, "slash", *"retain.acc", "enter")
        assert screen.metric == "retain.accuracy"
        await press(pilot, "o")
        assert [screen.value(row) for row in screen.lines.rows] == [0.98, 0.98, 0.979, 0.95]
        await press(pilot, "end", "home", "enter")
        await until(lambda: registry(app).version and registry(app).version.number != 3, "v3 is still shown")


async def test_a_note_is_written_and_removed(scene: Scene, client: MlflowClient, tmp_path: Path) -> None:
    def note() -> str | None:
        return versions.get(client, names.GENERATORS, 2).tags.get(names.NOTE)

    app = application(scene.uri, tmp_path, tab="about")
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "i", *"keep", "enter")
        await until(lambda: "note: keep" in text(app), "the note is not shown")
        assert note() == "keep"
        await press(pilot, "i", *["backspace"] * 4, "enter")
        await until(lambda: "note:" not in text(app), "the note is still shown")
        assert note() is None


async def test_read_only_writes_neither_notes_nor_lists(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = application(scene.uri, tmp_path, read_only=True)
    before = set(tmp_path.iterdir())
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "i", "E", "w", "2", "E")
        assert toasts(app).count("read-only") == 4
    assert set(tmp_path.iterdir()) == before


async def test_listed_versions_are_exported(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await press(pilot, "slash", *"stage:base", "enter", "E")
    found = json.loads((tmp_path / "versions.json").read_text())
    assert [record["version"] for record in found] == ["models:/sa-cvae/1"]


async def test_the_detail_of_a_heading_is_empty(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        registry(app).show_version()
        registry(app).lineage.set_rows([])
        registry(app).show_version()
        await pilot.pause()
        assert "vs base" not in text(app)
        assert "sa-cvae v2" not in text(app)


async def test_keys_come_from_the_keymap(scene: Scene, tmp_path: Path) -> None:
    keymap = tmp_path / "keys.json"
    keymap.write_text('{"registry.metric": "K", "registry.nothing": "x"}')
    app = application(scene.uri, tmp_path)
    app.keymap = keymap
    async with opened(app) as pilot:
        assert "registry.nothing" in toasts(app)
        await press(pilot, "m")
        assert not isinstance(app.screen, MetricScreen)
        await press(pilot, "K")
        assert isinstance(app.screen, MetricScreen)


async def test_trials_are_filtered_and_sorted_in_their_table(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="tuning")
    async with opened(app) as pilot:
        await press(pilot, "t")
        table, scatter = app.screen.query_one("#trial-list", RowList), app.screen.query_one(Scatter)
        assert [run.name for run in table.rows] == ["trial 0", "trial 1", "trial 2"]
        await press(pilot, "o")
        assert [run.name for run in table.rows] == ["trial 1", "trial 2", "trial 0"]
        await press(pilot, "end")
        assert scatter.selected
        assert scatter.selected.gap == 0.3
        await press(pilot, "slash", *"ewc_lambda>5", "enter")
        assert [run.name for run in table.rows] == ["trial 1", "trial 2"]
        assert {t.gap for t in scatter.trials} == {0.1, 0.2}
        await press(pilot, "escape")
        assert len(table.rows) == 3


async def test_a_column_of_trials_without_room_is_left_out_whole(
    scene: Scene, client: MlflowClient, tmp_path: Path
) -> None:
    names_of = [f"parameter_{i}" for i in range(8)]
    for number in range(3):
        for name in names_of:
            client.log_param(scene.runs[f"trial {number}"], name, number)
    app = application(scene.uri, tmp_path, start="tuning")
    async with opened(app, SMALL) as pilot:
        await press(pilot, "t", "O")
        words = next(line for line in text(app).split("\n") if "retention" in line).strip("│ ▁▇").split()
    assert words[-1] == "parameter_7↑"
    assert set(words[:-1]) < {"trial", "gap", "retention", "ewc_lambda", *names_of}


async def test_a_study_shows_its_trials_alone_and_the_front_within_the_constraint(
    scene: Scene, client: MlflowClient, tmp_path: Path
) -> None:
    tags = {"mlflow.parentRunId": scene.runs["tune"], "sa.study": "small", names.STAGE: "trial"}
    final = client.create_run("1", tags=tags).info.run_id
    for key, value in (("objective.gap", 0.0), ("objective.retention", 1.0)):
        client.log_metric(final, key, value)
    client.log_metric(scene.runs["trial 1"], "retain.class_drop_max", 0.03)
    app = application(scene.uri, tmp_path, start="tuning")
    async with opened(app):
        scatter = app.screen.query_one(Scatter)
        assert len(scatter.trials) == 3
        assert [t.gap for t in scatter.front] == [0.2, 0.3]


def test_the_parameter_that_decides_is_the_important_one() -> None:
    params = [{"lr": str(x), "steps": str(y), "name": "a"} for x in range(1, 6) for y in range(1, 6)]
    found = importance.shares(params, [float(p["lr"]) ** 2 for p in params])
    assert list(found) == ["lr", "steps"]
    assert found["lr"] > 0.9
    assert importance.shares(params[:3], [1.0, 2.0, 3.0]) == {}


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_drawn_colours_are_legible(scene: Scene, tmp_path: Path, theme: str) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        app.theme = theme
        await pilot.pause()
        ground = Color.parse(app.theme_variables["background"])
        ink = Ink.of(app)
        series = SERIES if app.current_theme.dark else SERIES_LIGHT
        for colour in (ink.good, ink.warn, ink.accent, ink.bad, *series):
            assert contrast(Color.parse(colour), ground) >= 4.5, colour


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_every_text_stands_out_from_its_ground(scene: Scene, tmp_path: Path, theme: str) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        app.theme = theme
        for keys in (["1"], ["slash"], ["escape", "m"], ["escape", "2"], ["3"]):
            await press(pilot, *keys)
            await pilot.pause()
            for strip in app.screen._compositor.render_strips():
                for word, style, _ in strip:
                    if style and style.color and style.bgcolor and any(c.isalnum() for c in word):
                        pair = (Color(*c.get_truecolor()) for c in (style.color, style.bgcolor))
                        assert contrast(*pair) >= 3, word


def contrast(first: Color, second: Color) -> float:
    """Ratio of the luminances of two colours as WCAG defines it."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: Color) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
