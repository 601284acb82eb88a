"""How long a comparison takes, from the duration of its base and of one measurement."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sa_mlops.config import CONTROL
from sa_mlops.methods.interface import StepSettings
from sa_mlops.registry import lineage
from sa_mlops.registry.tracking import run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges

STEP = {"forget": 3.0, "distil": 1.0, "harden": 6.0}
"""Cost of a step of a phase, in steps of the base (MNIST, `mlp`)."""
TRIAL = 0.2
"""Cost of scoring a trial, in measurements."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a step of the base, of a measurement, and of making what the rows of a seed share."""

    step: float
    measurement: float
    upstream: float

    def row(self, settings: StepSettings) -> float:
        """Of a version with these settings."""
        return self._training(settings) + self.measurement

    def trial(self, settings: StepSettings) -> float:
        """Of one class of a trial with these settings."""
        return self._training(settings) + TRIAL * self.measurement

    def _training(self, settings: StepSettings) -> float:
        cost = 1.0 if settings.method == CONTROL else STEP["forget"]
        phases = sum(STEP[name] * phase.optimisation.steps for name, phase in settings.phases.items())
        return self.step * (cost * settings.length + phases)


def pace_of(ctx: Context, judges: Judges, start: Version, fisher: Version | None, label: int) -> Pace:
    """The pace on this machine: one measurement now, the rest as recorded when it was made."""
    root = lineage.base_of(ctx.client, start) or start
    begun = time.monotonic()
    judges.beside_base(ctx.load(start), root, (label,))
    measurement = time.monotonic() - begun
    made = [root, *judges.pair, *([] if fisher is None else [fisher])]
    taken = [run_metrics(ctx.client, version.run_id) for version in made]
    spent = [m.get(f"time.{stage}", 0.0) for m in taken for stage in ("base", "judge", "fim")]
    optimisation = root.settings.get("optimisation")
    steps = optimisation.get("steps") if isinstance(optimisation, dict) else None
    return Pace(taken[0].get("time.base", 0.0) / (steps or 1), measurement, sum(spent))


def left_seconds(left: Iterable[float], whole: float, elapsed: float) -> float:
    """Estimate of the remaining seconds, corrected by how long the finished part took.

    Parameters
    ----------
    left, whole : estimates of the rows that remain, and of all.
    elapsed : seconds since the first.
    """
    remaining = sum(left)
    done = whole - remaining
    return remaining * (elapsed / done if done > 0 else 1.0)
