"""`oracle`: the base recipe trained without the forgotten classes, a condition slot that nobody taught.

It is what forgetting is compared with: a model that never knew the class.
"""

from __future__ import annotations

from sa_mlops.config import OracleConfig
from sa_mlops.registry.tracking import stoppable
from sa_mlops.stages import base, evaluate
from sa_mlops.stages.context import Context
from sa_mlops.stages.result import Result


def run(config: OracleConfig) -> Result:
    """Train or reuse the oracle of a set of classes, and measure it beside the base of its seed, if there is one."""
    ctx = Context(config)
    with stoppable(), ctx.entry("oracle", config):
        version = base.obtain(ctx, config.settings(without=config.classes))
        return evaluate.result(ctx, version)
