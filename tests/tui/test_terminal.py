"""The UI in a real terminal (tmux), from a launch to the new version on the screen, with no part replaced."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import ROOT, Store, child_environment
from waiting import wait_for

from sa_mlops.registry import names

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

WIDTH, HEIGHT = 200, 60
TRAINING = 600.0
"""Seconds that the launched run may take beside other tests."""


class Terminal:
    """A tmux server of its own with one window, in which a command runs."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.socket = f"sa-{uuid.uuid4().hex[:12]}"
        self.environment = environment
        self._tmux(
            *("-f", "/dev/null", "new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(folder)),
            f"{shlex.join(command)}; echo ended with status $?; exec sleep 3600",
        )

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.socket, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Characters as they are."""
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        """What stands on it."""
        return self._tmux("capture-pane", "-p")

    def shows(self, *texts: str, deadline: float = 120.0) -> str:
        """Wait for all of the texts; the screen that has them."""
        self.wait(lambda shown: all(text in shown for text in texts), f"{texts} on the screen", deadline)
        return self.screen()

    def wait(self, done: Callable[[str], object], what: str, deadline: float = 120.0) -> None:
        """Wait for a screen; fail with the last one."""
        try:
            wait_for(lambda: done(self.screen()), what, deadline)
        except pytest.fail.Exception:
            pytest.fail(f"not {what}:\n{self.screen()}")

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(own_store: Store, tmp_path: Path) -> Iterator[Terminal]:
    environment = child_environment(
        TERM="xterm-256color", LANG="C.UTF-8", XDG_STATE_HOME=str(tmp_path / "state"), HOME=str(tmp_path)
    )
    for name in ("TMUX", "TMUX_PANE"):
        environment.pop(name, None)
    made = Terminal([sys.executable, "-m", "tui", "--tracking-uri", own_store.uri], environment, ROOT)
    yield made
    made.close()


def test_a_run_is_launched_followed_and_its_version_previewed(terminal: Terminal, own_store: Store) -> None:
    terminal.shows("v1 base", "v2 forget (1)", "v3 retrained without (1)")

    # The run that made version 1, once more, with fewer steps.
    terminal.press("2")
    terminal.shows("Runs · ", "retrain", "done")
    terminal.press("Home", "Down", "Down", "a")
    terminal.shows("mlflow run . -e base", "-P steps=300", "ready")
    terminal.type("30")
    terminal.shows("-P steps=30 ", "ready")
    terminal.press("C-r")

    terminal.shows("◐ running", deadline=TRAINING)
    # In one picture: between two of them the table may be on its way.
    terminal.wait(
        lambda shown: len(re.findall(r"● done +base ", shown)) == 2,
        "the end of the run",
        TRAINING,
    )

    client = MlflowClient(own_store.uri)
    made = client.get_model_version(names.GENERATORS, "4")
    assert made.tags[names.STAGE] == "base"

    terminal.press("v")
    terminal.shows("v4 base   seed 0", "▀▀▀▀")
    terminal.press("q")
    terminal.shows("ended with status 0")
