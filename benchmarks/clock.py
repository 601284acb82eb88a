"""Time and memory: contenders in turn, children with their peak."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sa_mlops.errors import CommandError

ROOT = Path(__file__).resolve().parent.parent
SET_BY_MLFLOW = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI")


class ChildError(CommandError):
    """A child that failed. The message is one line."""


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that the clock is read when the work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds per unit of work of the repeats, in the order they were measured."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one to report."""
        return statistics.median(self.seconds)

    def scaled(self, factor: float) -> Times:
        """The time of `factor` units."""
        return Times(tuple(s * factor for s in self.seconds))


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the sides: `run()` does `amount` units of work."""

    run: Callable[[], object]
    amount: float = 1.0


def alternate(
    contenders: Mapping[str, Contender], repeats: int, device: torch.device, *, warm_up: bool = True
) -> dict[str, Times]:
    """Seconds per unit of work; every repeat runs all contenders in turn, so that a busy spell meets them all alike.

    `warm_up` runs each once before, untimed.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(-1 if warm_up else 0, repeats):
        for name, contender in contenders.items():
            synchronise(device)
            start = time.perf_counter()
            contender.run()
            synchronise(device)
            if repeat >= 0:
                taken[name].append((time.perf_counter() - start) / contender.amount)
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}


def ratio(above: Times, below: Times) -> Times:
    """Quotients of the repeats that were measured beside each other."""
    return Times(tuple(a / b for a, b in zip(above.seconds, below.seconds, strict=True)))


class PausedClock:
    """A stopwatch that stands still while a loop is being scored."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        synchronise(device)
        self._since = time.perf_counter()

    def pause(self) -> float:
        """Stop; seconds so far."""
        synchronise(self.device)
        self.seconds += time.perf_counter() - self._since
        return self.seconds

    def go_on(self) -> None:
        """Start again."""
        synchronise(self.device)
        self._since = time.perf_counter()


@dataclass(frozen=True, slots=True)
class Child:
    """A process that has ended: wall seconds, peak resident memory (its own and its children's), its output."""

    seconds: float
    peak_mib: float
    output: str


def child(arguments: Sequence[str], folder: Path | None = None, **environment: str) -> Child:
    """Run this Python with `arguments`, in `folder` if one is given.

    Raises
    ------
    ChildError : if it fails.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in SET_BY_MLFLOW}
    with tempfile.TemporaryDirectory() as name:
        told = Path(name) / "peak.json"
        launcher = str(ROOT / "benchmarks" / "peak.py")
        command = [sys.executable, "-S", "-E", launcher, str(told), sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False,
            env=inherited | {"PYTHONPATH": str(ROOT), "CI": "1"} | environment,
        )  # fmt: skip
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise ChildError(
                f"`{' '.join(arguments)[:80]}` ended with status {done.returncode}: {last[:160]}"
            )
        peak = json.loads(told.read_text())
    return Child(peak["seconds"], peak["peak_mib"], done.stdout)
