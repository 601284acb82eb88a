"""The stores of the UI's tests: one is made a session, and every test that writes gets a copy."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import scenes
import screen
from mlflow.tracking import MlflowClient
from scenes import Scene
from waiting import wait_for

from tui.services import launcher
from tui.services.launcher import Launcher


@pytest.fixture(scope="session")
def made_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Versions and runs; only for reading."""
    return scenes.make(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[None]:
    """The process that draws samples ends with the session."""
    yield
    screen.DRAWING.end()


@pytest.fixture
def scene(made_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Versions and runs of this test's own."""
    own = made_scene.copy(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.uri)
    return own


@pytest.fixture
def client(scene: Scene) -> MlflowClient:
    """A client of this test's store."""
    return MlflowClient(scene.uri)


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """A launcher whose processes are killed when the test ends; `python -m child` is what they run."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made = Launcher(tmp_path / "launches", tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    yield made
    for seen in made.launches():
        if seen.launch.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(seen.launch.pid, signal.SIGKILL)
    wait_for(lambda: not any(s.state == "running" for s in made.launches()), "processes are still there")
    launcher.reap()
