"""The process that starts queued runs while no UI is open: `python -m tui.services.keeper FOLDER PROJECT URI`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tui.services.devices import devices
from tui.services.launcher import Launcher, reap

POLL_SECONDS = 2.0


def hire(launcher: Launcher) -> None:
    """Start a keeper of a queue; one that finds another ends at once."""
    words = [str(launcher.folder), str(launcher.project), launcher.uri]
    subprocess.Popen(
        [sys.executable, "-m", "tui.services.keeper", *words],
        cwd=launcher.project,
        env=launcher.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def keep(launcher: Launcher, pause: float = POLL_SECONDS) -> None:
    """Start queued runs as devices become free, until none is queued and no cancelled one is left."""
    try:
        with FileLock(launcher.folder / "keeper.lock", timeout=0):
            launcher.gpus = [d.word for d in devices() if d.word.startswith("cuda:")]
            while any(s.state == "queued" or (s.live and s.launch.cancelled) for s in launcher.launches()):
                reap()
                launcher.press()
                launcher.tick()
                time.sleep(pause)
    except Timeout:
        return


if __name__ == "__main__":
    keep(Launcher(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
