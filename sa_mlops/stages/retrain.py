"""`retrain`: the base recipe trained without the forgotten classes, the control of every method."""

from __future__ import annotations

from sa_mlops.config import RetrainConfig
from sa_mlops.stages import base
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.result import Result


def run(config: RetrainConfig) -> Result:
    """Train or reuse the generator that never learned these classes."""
    ctx = Context.open(config)
    judges = Judges(ctx)
    with ctx.runs.entry("retrain", config):
        return judges.result(base.obtain(ctx, config.settings(without=config.indices), judges))
