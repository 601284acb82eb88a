"""The project's commands as a user starts them, many at once, on one small lineage of scikit-learn's digits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ("--dataset", "digits", "--device", "cpu")
LIMIT = 600
"""Seconds that a command may take."""


@dataclass(slots=True)
class Command:
    """A command in a process of its own, that leads a group of its own."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    log: Path
    begun: float

    @property
    def said(self) -> str:
        """The end of what it has said."""
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun


class Crowd:
    """Starts commands against one store.

    Parameters
    ----------
    folder : for their output, and their working folder.
    environment : what a client of the store sets.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
        self.started = 0

    def start(self, *words: str) -> Command:
        """`sa-mlops` with these words."""
        self.started += 1
        log = self.folder / f"command-{self.started}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "sa_mlops", *words], cwd=self.folder, env=self.environment, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        return Command(words, process, log, time.monotonic())

    def run(self, *words: str) -> None:
        """The same to its end, which must be a good one."""
        command = self.start(*words)
        if command.process.wait(LIMIT) != 0:
            raise SystemExit(f"sa-mlops {' '.join(words)}:\n{command.said}")

    def stock(self, known: Mapping[str, object]) -> None:
        """Judges, a base (version 1) and its Fisher diagonal, which all that follows shares; none that is `known`."""
        if not known:
            self.run("judge", *DIGITS)
            self.run("base", *DIGITS, "--steps", "60")
        self.run("fim", *DIGITS, "--from-version", "1", "--fisher-samples", "300")

    def forget(self, number: int) -> Command:
        """A short but whole `forget` that no other number repeats."""
        return self.start(
            *("forget", *DIGITS, "--from-version", "1", "--digit", str(number % 10), "--steps", "40"),
            *("--fisher-samples", "300", "--ewc-lambda", str(10 + number / 1000)),
        )


def environment() -> dict[str, str]:
    """What keeps a process of a campaign to itself."""
    quiet = {
        "CI": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
    return quiet | {"OMP_NUM_THREADS": "1"}


def commit() -> str:
    """The commit that the figures belong to."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
