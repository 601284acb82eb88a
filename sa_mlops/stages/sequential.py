"""`sequential`: forget classes one after another; each step is a registered version made from the one before."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from sa_mlops.config import SequentialConfig
from sa_mlops.core.metrics.drift import fisher_distance
from sa_mlops.methods import interface
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.grids import sequential_columns
from sa_mlops.plots.matrices import Measure, forgetting_matrix
from sa_mlops.registry import names, processes, versions
from sa_mlops.registry.gates import FORGETTING
from sa_mlops.registry.names import class_metric
from sa_mlops.registry.version import Version
from sa_mlops.stages import fisher, forget, pictures
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

MEASURES: tuple[Measure, ...] = ("probability", "entropy", "accuracy")
METRIC = {"probability": "prob", "entropy": "entropy", "accuracy": "accuracy"}
INTERRUPTED = ("KILLED", "FAILED", "RUNNING")


@dataclass(frozen=True, slots=True)
class Step:
    """A generator of the chain with its metrics; step 0 is where the chain starts."""

    version: Version
    metrics: dict[str, float]

    def values(self, classes: tuple[str, ...], measure: str) -> list[float]:
        """A measure of these classes."""
        return [self.metrics[class_metric(c, measure)] for c in classes]

    @property
    def probability(self) -> float:
        """The largest probability of a forgotten class in the worse view, which the gate reads; NaN without any."""
        return self.metrics.get(FORGETTING["forget_prob"], np.nan)

    @property
    def entropy(self) -> float:
        """The least entropy of a forgotten class, nats; NaN without any."""
        return min(self.values(self.version.forgotten, "entropy"), default=np.nan)


def run(config: SequentialConfig) -> Result:
    """Forget the classes in their order."""
    ctx = Context.open(config)
    start = forget.starting_point(ctx, config.from_version, config.ordered)
    images, md5 = pictures.read(config.images, ctx.dataset.spec.shape, ctx.device)
    if config.resume:
        ctx = resumed(ctx, config)
    judges = Judges(ctx)
    with ctx.runs.entry("sequential", config) as entry:
        entry.recorder.tags({names.STAGE: "sequential", names.STEPS: str(len(config.ordered))})
        start = start or base_for(ctx, config, judges)
        steps = [Step(start, judges.ensure(start))]
        for number, index in enumerate(config.ordered, start=1):
            say(f"step {number} of {len(config.ordered)}: forget {ctx.classes[index]}")
            before = steps[-1].version
            settings = config.step(index).resolved(
                before.forgotten_indices, md5, config.fisher_source, before.net
            )
            protection = fisher_of(ctx, config, steps)
            after = forget.obtain(ctx, before, settings, protection, judges, images)
            steps.append(Step(after, judges.ensure(after)))
            _record(ctx, entry, steps, number)
        _draw(ctx, entry, steps)
        return _result(steps)


def fisher_of(ctx: Context, config: SequentialConfig, steps: list[Step]) -> Version | None:
    """The Fisher diagonal that protects the next step, if the method needs one."""
    if not interface.named(config.method).needs.fisher:
        return None
    start = steps[0].version if config.fisher_source == "base" else steps[-1].version
    newest = fisher.obtain(ctx, start, config.fisher_samples)
    if config.fisher_source == "accumulated" and len(steps) > 1:
        return fisher.accumulate(ctx, start, newest)
    return newest


def resumed(ctx: Context, config: SequentialConfig) -> Context:
    """A context in which the steps of the newest interrupted sequence with these parameters are reused.

    Raises ParameterError if there is no such sequence.
    """
    previous = interrupted(ctx.client, config)
    if previous is None:
        raise ParameterError("resume", "true", "false: no sequence with these parameters was interrupted")
    say(f"resuming run {previous}")
    return dataclasses.replace(ctx, fresh=False)


def interrupted(client: MlflowClient, config: SequentialConfig) -> str | None:
    """Run id of the newest sequence with these parameters that did not finish and is not at work."""
    wanted = {k: v for k, v in config.spelled().items() if k not in ("resume", "device", "fresh")}
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(
        experiments,
        "tags.`sa.entry` = 'sequential'",
        order_by=["attributes.start_time DESC"],
        max_results=200,
    )
    for run in runs:
        stopped = run.info.status in INTERRUPTED and processes.fate(run.data.tags) != "alive"
        if stopped and wanted.items() <= run.data.params.items():
            return str(run.info.run_id)
    return None


def _record(ctx: Context, entry: StageRun, steps: list[Step], number: int) -> None:
    """The metrics `step.K.*` of the parent run: rebound of the forgotten classes, and drift of the weights."""
    first, step = steps[0], steps[-1]
    m = step.metrics
    values = {
        "forget.prob_worst": step.probability,
        "forget.entropy_min": step.entropy,
        "retain.accuracy": m["retain.accuracy"],
        "retain.accuracy_change": m["retain.accuracy"] - m.get("base.retain.accuracy", np.nan),
        "retain.accuracy_min": m["retain.accuracy_min"],
        "retain.fid": m.get("retain.fid", np.nan),
    }
    values |= {key: m[key] for key in (class_metric(c, "prob") for c in ctx.classes)}
    protection = names.parse_uri(step.version.tags.get(names.FIM, ""))
    if protection is not None:
        model, anchor = ctx.load(step.version), ctx.load(first.version)
        diagonal = fisher.load(ctx, versions.get(ctx.client, *protection), model)
        values["fisher_distance"] = fisher_distance(
            dict(model.named_parameters()), dict(anchor.named_parameters()), diagonal
        )
    entry.recorder.metrics({f"step.{number}.{key}": value for key, value in values.items()})


def matrix(steps: list[Step], measure: Measure) -> NDArray[np.float32]:
    """Values (steps, K) of every class after every step, step 0 first."""
    return np.array([s.values(s.version.classes, METRIC[measure]) for s in steps], dtype=np.float32)


def _labels(steps: list[Step]) -> list[str]:
    labels = ["start"]
    for before, after in itertools.pairwise(steps):
        new = [c for c in after.version.forgotten if c not in before.version.forgotten]
        labels.append(f"forget {names.spell_classes(new)}")
    return labels


def _draw(ctx: Context, entry: StageRun, steps: list[Step]) -> None:
    labels, classes = _labels(steps), ctx.classes
    forgotten = [s.version.forgotten_indices for s in steps]
    for measure in MEASURES:
        values = matrix(steps, measure)
        figure = forgetting_matrix(
            values, measure=measure, classes=classes, steps=labels, forgotten=forgotten
        )
        entry.figure(figure, f"figures/forgetting_matrix_{measure}.png")
        columns = {
            f"class {c}": column.round(4).tolist() for c, column in zip(classes, values.T, strict=True)
        }
        path = f"tables/forgetting_matrix_{measure}.json"
        entry.client.log_table(entry.run_id, {"step": labels} | columns, path)
    blocks = np.stack([ctx.grid(ctx.load(s.version), rows=2) for s in steps])
    worst = steps[-1].probability
    title = f"After {len(steps) - 1} steps no forgotten class is above probability {worst:.3f}"
    figure = sequential_columns(blocks, title=title, classes=classes, steps=labels, forgotten=forgotten)
    entry.figure(figure, "figures/sequential.png")


def _result(steps: list[Step]) -> Result:
    rows = []
    for label, step in zip(_labels(steps), steps, strict=True):
        m = step.metrics
        values = step.probability, step.entropy
        forgotten = [f"{v:.4f}" if step.version.forgotten else "-" for v in values]
        rows.append(
            [
                f"v{step.version.number} {label}",
                *forgotten,
                f"{m['retain.accuracy']:.4f}",
                f"{m.get('base.retain.accuracy', m['retain.accuracy']):.4f}",
                f"{m['retain.accuracy_min']:.4f}",
                f"{m.get('retain.fid', np.nan):.2f}",
            ]
        )
    header = ["step", "largest p", "least H", "retained", "base there", "worst", "FID"]
    document = {
        "steps": [
            {
                "version": s.version.uri,
                "parent": s.version.tags.get(names.PARENT),
                "forgotten": list(s.version.forgotten),
                "metrics": names.results(s.metrics),
            }
            for s in steps
        ],
        "forgetting_matrix": {m: matrix(steps, m).tolist() for m in MEASURES},
    }
    return Result(document, table(header, rows))
