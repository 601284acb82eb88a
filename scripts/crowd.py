"""Many concurrent commands of the project, as a user starts them, on a small lineage of the data set digits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import warm

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ("--dataset", "digits", "--device", "cpu")
FISHER = ("--fisher-samples", "2000")
"""As in the tests' shared lineage, whose diagonal is used again."""
PROGRAM = ("-m", "sa_mlops")
LIMIT = 600
"""Time limit of a command in seconds."""


@dataclass(slots=True)
class Command:
    """A command in its own process and process group."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes] | warm.Program
    log: Path
    begun: float

    @property
    def said(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def seconds(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.begun


class Crowd:
    """Starts commands against one store.

    Parameters
    ----------
    folder : for their output; also their working directory.
    environment : variables that a client of the store needs.
    brief : whether stages take few steps and measure with few samples (`scripts/brief.py`), and commands are forked
        from a process that has their imports (`scripts/warm.py`).
    """

    def __init__(self, folder: Path, environment: dict[str, str], *, brief: bool = False) -> None:
        self.folder = folder
        self.stages = (str(ROOT / "scripts" / "brief.py"),) if brief else PROGRAM
        self.brief = brief
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
        self.started = 0

    def start(self, *words: str, program: Sequence[str] = PROGRAM) -> Command:
        """`sa-mlops` with these words."""
        self.started += 1
        log = self.folder / f"command-{self.started}"
        log.touch()
        begun = time.monotonic()
        if self.brief:
            forked = warm.start((*program, *words), self.folder, self.environment, log)
            return Command(words, forked, log, begun)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *program, *words], cwd=self.folder, env=self.environment, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        return Command(words, process, log, begun)

    def run(self, *words: str) -> None:
        """The same until it ends; raises unless it succeeds."""
        command = self.start(*words, program=self.stages)
        if command.process.wait(LIMIT) != 0:
            raise SystemExit(f"sa-mlops {' '.join(words)}:\n{command.said}")

    def stock(self, known: Mapping[str, object]) -> None:
        """Make judges, a base (version 1) and its Fisher diagonal for all later runs, unless versions are `known`."""
        if not known:
            self.run("judge", *DIGITS)
            self.run("base", *DIGITS, "--steps", "60")
            self.run("fim", *DIGITS, "--from-version", "1", *FISHER)

    def forget(self, number: int) -> Command:
        """A short but complete `forget` with settings that are unique to this number."""
        return self.start(
            *("forget", *DIGITS, "--from-version", "1", "--classes", str(number % 10), *FISHER),
            *("--steps", "10" if self.brief else "40", "--ewc-lambda", str(10 + number / 1000)),
            program=self.stages,
        )


def environment() -> dict[str, str]:
    """Environment variables that isolate a campaign."""
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
    """The commit of the checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
