"""`sa-mlops` commands in separate processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Its whole output."""
        return "\n".join(part.strip() for part in (self.out, self.err) if part.strip())

    @property
    def headline(self) -> str:
        """The last line of its result, or of its errors."""
        source = self.out if self.status in (0, 1) and self.out.strip() else self.err
        said = [line for line in source.strip().splitlines() if line.strip()]
        return said[-1] if said else "done" if self.status == 0 else f"exit status {self.status}"


_running: set[subprocess.Popen[str]] = set()


def run(words: Sequence[str], uri: str, folder: Path) -> Answer:
    """Run `sa-mlops` in `folder` against a store. Blocks.

    Its output goes to pipes, not to the terminal of the UI.
    """
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "sa_mlops", *words],
        cwd=folder,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": python_path()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    try:
        out, err = process.communicate()
    finally:
        _running.discard(process)
    return Answer(process.returncode, out, err)


def stop_all() -> None:
    """Interrupt running commands, so that the UI does not wait for them when it closes."""
    for process in list(_running):
        process.send_signal(signal.SIGINT)


def python_path() -> str:
    """PYTHONPATH under which these packages are found from any folder."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
