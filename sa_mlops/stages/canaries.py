"""`evaluate --canaries`: the positive control of the membership AUC, on a copy of a version's history.

A base is trained as the version's own, on the same data with planted canaries, and forgets by the version's settings.
Both generators are discarded after the measurement, and never registered.
"""

from __future__ import annotations

from sa_mlops import keys
from sa_mlops.config import EvaluateConfig
from sa_mlops.core.canaries import REMEMBERED, make_canaries
from sa_mlops.core.metrics.intervals import as_metrics
from sa_mlops.core.metrics.membership import Membership
from sa_mlops.core.training import train_generator
from sa_mlops.methods.interface import Inputs, needs_classifier, train_step
from sa_mlops.registry import names
from sa_mlops.registry.names import BASE_PREFIX
from sa_mlops.registry.tracking import Recorder
from sa_mlops.stages import fisher, history, judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.history import History
from sa_mlops.stages.progress import Progress, watching
from sa_mlops.stages.result import Result, table

Found = dict[int, Membership]


def run(config: EvaluateConfig) -> Result:
    """Train with canaries, forget as the version did, and attack both generators."""
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    past = history.read(ctx, version, config.version)
    with ctx.runs.entry("evaluate", config) as entry:
        entry.recorder.used(version.model_id)
        entry.recorder.tags({names.STAGE: "evaluate", "sa.version": version.uri})
        before, after = _measured(ctx, past)
        metrics = _metrics(before, BASE_PREFIX) | _metrics(after)
        entry.recorder.metrics(metrics)
        Recorder(ctx.client, version.run_id).metrics(metrics, model_id=version.model_id)
    control = max(found.auc for found in before.values())
    rows = [
        [f"planted {times} time{'s' * (times > 1)}", _spell(found), _spell(after[times])]
        for times, found in before.items()
    ]
    verdict = (
        f"The attack finds the planted images (AUC at least {REMEMBERED:g}), so the membership AUC is evidence."
        if control >= REMEMBERED
        else f"The attack misses the planted images (AUC below {REMEMBERED:g}), so the membership AUC is not evidence."
    )
    title = f"membership AUC of canaries of class {ctx.spell(past.step.forget[:1])}"
    text = f"{version.uri}: {version.title}\n{table([title, 'before', 'after'], rows)}\n{verdict}"
    return Result({"version": version.uri, "control": control, "metrics": metrics}, text)


def _measured(ctx: Context, past: History) -> tuple[Found, Found]:
    """The attack on a base trained with canaries, and on what it becomes by the version's settings."""
    step, recipe = past.step, past.recipe
    label = step.forget[0]
    canaries = make_canaries(ctx.dataset, label, ctx.generator("canaries", label))
    data = canaries.planted_in(ctx.dataset)
    with Progress("base with canaries", recipe.optimisation.steps) as progress:
        base = train_generator(
            data.train_images, data.train_labels, data.spec, recipe, ctx.generator(*keys.base(())), report=progress
        )  # fmt: skip
    diagonal = {}
    if past.sampling is not None:
        with Progress("its Fisher diagonal", past.sampling.samples, unit="sample") as progress:
            diagonal = fisher.estimate(ctx, base, past.sampling, progress)
    inputs = Inputs(
        fisher=diagonal,
        data=data,
        classifier=judge.load(ctx, judge.obtain(ctx, "trainer")) if needs_classifier(step) else None,
    )
    after = train_step(base, step, inputs, ctx.generator, watch=watching("canaries"))
    before, later = (canaries.found(m, ctx.generator("canaries", "attack")) for m in (base, after))
    return before, later


def _metrics(found: Found, prefix: str = "") -> dict[str, float]:
    values: dict[str, float] = {}
    for times, attack in found.items():
        values |= as_metrics(f"{prefix}canary.{times}.auc", attack.auc, attack.interval)
    return values


def _spell(found: Membership) -> str:
    return f"{found.auc:.3f} {found.interval}"
