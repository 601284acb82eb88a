"""`evaluate`: measure a registered generator beside its base, or every class over several seeds."""

from __future__ import annotations

from sa_mlops.config import EvaluateConfig
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names
from sa_mlops.stages import canaries, class_table, population
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.result import Result


def run(config: EvaluateConfig) -> Result:
    """Measure a registered generator, or many: every class, with canaries, or a population."""
    if config.all_classes:
        return class_table.run(config)
    if config.canaries:
        return canaries.run(config)
    if config.population:
        return population.run(config)
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    if len(version.forgotten) == len(version.classes):
        raise ParameterError("version", config.version, "a generator that retains a class")
    with ctx.runs.entry("evaluate", config) as run:
        run.recorder.used(version.model_id)
        run.recorder.tags({names.STAGE: "evaluate", "sa.version": version.uri})
        done = Judges(ctx).result(version)
        run.recorder.metrics(done.document["metrics"])
    return done
