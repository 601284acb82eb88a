"""Each screen at both sizes as a picture. `pytest tests/tui/test_snapshots.py --snapshot-update` takes them anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from scenes import Scene
from screen import SMALL, WIDE, application, press, select
from textual.pilot import Pilot
from textual.widgets import Input
from waiting import until

import tui.app
from tui import plain
from tui.app import AmnesiaApp
from tui.messages import OpenRun
from tui.services import records
from tui.services.devices import GIB, Device

NOW = 1_800_000_000
SIZES = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
DEVICES = [
    Device("cuda:0", "NVIDIA H100", 41 * GIB, 80 * GIB, 87.0),
    Device("cpu", "2 cores", GIB, 4 * GIB, 12.0),
]


@pytest.fixture
def frozen(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AmnesiaApp:
    """The application with nothing in it that differs from one day to the next: times, devices, paths."""
    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        keys = [row[0] for row in db.execute("SELECT run_uuid FROM runs ORDER BY start_time, name")]
        for i, key in enumerate(keys):
            start = (NOW - 3600 + 60 * i) * 1000
            db.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (start, key))
            db.execute(
                "UPDATE runs SET end_time = ? WHERE run_uuid = ? AND end_time IS NOT NULL",
                (start + 30_000, key),
            )
        db.execute("UPDATE model_versions SET creation_time = ?", (NOW * 1000,))
    clock = SimpleNamespace(
        time=lambda: float(NOW), strftime=lambda *_: "2027-01-15 08:00:00", localtime=lambda s: s
    )
    monkeypatch.setattr(plain, "time", clock)
    monkeypatch.setattr(records, "time", clock)
    monkeypatch.setattr(tui.app, "devices", lambda: DEVICES)
    monkeypatch.setattr(tui.app, "POLL_SECONDS", 1e6)
    return application("sqlite:///mlflow.db", tmp_path)


async def ready(pilot: Pilot[None]) -> AmnesiaApp:
    app = pilot.app
    assert isinstance(app, AmnesiaApp)
    app.animation_level = "none"
    app.read_devices()
    await until(
        lambda: app.workspace.snapshot.complete and app.workspace.devices and not app.workspace.loading,
        "not read",
    )
    await pilot.pause()
    return app


async def settle(pilot: Pilot[None]) -> None:
    """Let workers and repaints end."""
    await until(lambda: all(w.is_finished for w in pilot.app.workers), "workers go on")
    await pilot.pause()
    await pilot.pause()


@SIZES
def test_registry(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await select(pilot, 3)
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)


@SIZES
def test_detail(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await select(pilot, 2)
        await press(pilot, "space")
        await select(pilot, 3)
        await press(pilot, "enter")
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)


@SIZES
def test_launch(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await select(pilot, 1)
        await press(pilot, "l")
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)


@SIZES
def test_runs(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        app = await ready(pilot)
        await press(pilot, "2")
        going = next(r for r in app.workspace.snapshot.runs.values() if r.name == "forget 3")
        app.post_message(OpenRun(going.run_id))
        await pilot.pause()
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)


@SIZES
def test_tuning(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await press(pilot, "3", "home")
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)


@SIZES
def test_compare(frozen: AmnesiaApp, snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await ready(pilot)
        for number in (2, 4):
            await select(pilot, number)
            await press(pilot, "space")
        await press(pilot, "c")
        await settle(pilot)

    assert snap_compare(frozen, terminal_size=size, run_before=before)
