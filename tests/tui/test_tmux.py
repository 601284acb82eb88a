"""The whole thing in a terminal: launch a real run through the form, follow it, preview the version it makes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import ROOT, Store, child_environment
from waiting import wait_for

from sa_mlops.config import ForgetConfig
from sa_mlops.registry import names

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
DEADLINE = 240.0


class Terminal:
    """A tmux session of 140 x 40 cells on a server of its own."""

    def __init__(self, command: str, folder: Path, **environment: str) -> None:
        self.server = f"sa-{uuid.uuid4().hex[:8]}"
        script = folder / "start.sh"
        script.write_text(f"cd {shlex.quote(str(folder))}\nexec {command}\n")
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", f"sh {script}", **environment
        )

    def _tmux(self, *words: str, **environment: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.server, *words],
            capture_output=True, text=True, check=True, timeout=60,
            env=child_environment(**environment) | {"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", *keys)

    def sees(self, *words: str) -> None:
        """Wait until all of these stand on the screen."""
        last = ""

        def there() -> bool:
            nonlocal last
            last = self.screen()
            return all(word in last for word in words)

        try:
            wait_for(there, f"{words} are not on the screen", DEADLINE)
        except pytest.fail.Exception:
            raise AssertionError(f"{words} are not on the screen:\n{last}") from None

    def settles(self) -> None:
        """Wait until two looks see the same."""
        wait_for(lambda: self.screen() == self.screen(), "the screen does not come to rest", DEADLINE)

    def close(self) -> None:
        """End it."""
        subprocess.run(
            ["tmux", "-L", self.server, "kill-server"], capture_output=True, check=False, timeout=60
        )


@pytest.fixture
def terminal(own_store: Store, tmp_path: Path) -> Iterator[Terminal]:
    """`sa-tui` on a copy of the small store on digits."""
    # Its records of runs belong to this test; MLproject and its code are the checkout's.
    for name in ("MLproject", "python_env.yaml", "sa_mlops", "data.dvc"):
        (tmp_path / name).symlink_to(ROOT / name)
    words = [sys.executable, "-m", "tui", "--tracking-uri", own_store.uri]
    made = Terminal(shlex.join(words), tmp_path, OMP_NUM_THREADS="1")
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_launch_follow_preview(terminal: Terminal, own_store: Store) -> None:
    terminal.sees("● live", "forget (1)", "@base")
    terminal.keys("v")
    terminal.sees("version number")
    terminal.keys("2", "Enter")
    terminal.sees("sa-cvae v2 forget 1")
    terminal.keys("l")
    terminal.sees("Launch", "from_version")
    _type(terminal, "digit", "8")
    _type(terminal, "fisher_samples", "500")
    _type(terminal, "steps", "20")
    terminal.sees("digit=8", "steps=20", "fisher_samples=500", "ready")
    terminal.keys("C-r")
    terminal.sees("Runs", "forget")
    terminal.keys("t")
    terminal.sees("$ mlflow run . -e forget")
    wait_for(lambda: _generators(own_store) == 4, "no version was registered", DEADLINE)
    terminal.sees("● done")
    terminal.keys("v")
    terminal.sees("sa-cvae v4 forget 1,8", "seed 0", "▀")
    terminal.keys("q")
    (newest, *_) = MlflowClient(own_store.uri).search_model_versions(
        f"name = '{names.GENERATORS}'", order_by=["version_number DESC"]
    )
    assert newest.tags[names.FORGOTTEN] == "1,8"
    assert newest.tags[names.PARENT] == names.version_uri(names.GENERATORS, 2)


def _type(terminal: Terminal, field: str, value: str) -> None:
    """Walk to a field of the form, and put a value in the place of what stands there."""
    said = f"{field}  {ForgetConfig.parameters()[field].help[:12]}"
    for _ in range(40):
        if said in terminal.screen():
            terminal.keys("End", "C-u", *value)
            return
        terminal.keys("Tab")
        terminal.settles()
    raise AssertionError(f"there is no field {field}:\n{terminal.screen()}")


def _generators(store: Store) -> int:
    return len(MlflowClient(store.uri).search_model_versions(f"name = '{names.GENERATORS}'"))
