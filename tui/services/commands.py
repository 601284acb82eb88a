"""`sa-mlops` commands in processes of their own, for what the UI asks of the project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything it said."""
        return "\n".join(part.strip() for part in (self.out, self.err) if part.strip())

    @property
    def headline(self) -> str:
        """The last line that it said for people: its result, or what was wrong."""
        source = self.out if self.status in (0, 1) and self.out.strip() else self.err
        said = [line for line in source.strip().splitlines() if line.strip()]
        return said[-1] if said else "done" if self.status == 0 else f"exit status {self.status}"


_running: set[subprocess.Popen[str]] = set()


def run(words: Sequence[str], uri: str, folder: Path) -> Outcome:
    """Run `sa-mlops` in `folder` against a store. Blocks.

    Its output goes to pipes, never to the terminal that the UI draws on.
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
    return Outcome(process.returncode, out, err)


def stop_all() -> None:
    """Interrupt what still runs, as Ctrl-C would: the UI must not wait for it when it closes."""
    for process in list(_running):
        process.send_signal(signal.SIGINT)


def python_path() -> str:
    """Where the packages are found also from another folder."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
