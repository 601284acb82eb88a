"""`evaluate --population`: many bases, forgotten and retrained generators, and how their margins overlap.

Each generator is a registered version of a seed of its own, so a repeated command makes only
those that are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sa_mlops.config import EvaluateConfig
from sa_mlops.core.population import Spread, ceiling, margins, overlap
from sa_mlops.registry import lineage, names
from sa_mlops.registry.names import BASE_PREFIX
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.settings import SEED
from sa_mlops.stages import base, fisher, forget, history
from sa_mlops.stages.context import Context
from sa_mlops.stages.history import History
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result, table

IMAGES = 200
"""Test images of the forgotten classes, and of the retained ones, at most."""
PREFIX = {"base": BASE_PREFIX, "forgotten": "", "retrained": "retrained."}
"""Kind of generator -> prefix of its metrics."""
PARTS = {"forget": "the forgotten", "retain": "the retained"}
"""Part of the test images -> the classes that they show."""
Margins = Mapping[tuple[str, str], Tensor]
"""Kind and part -> margins (N, n) of N generators on n images."""


def run(config: EvaluateConfig) -> Result:
    """Make the missing versions, measure the margins of all, and compare them with those of the retrained ones."""
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    past = history.read(ctx, version, config.version)
    size = config.population
    steps = size * len(PREFIX)
    with ctx.runs.entry("evaluate", config) as entry:
        entry.recorder.used(version.model_id)
        tags = {names.STAGE: "evaluate", "sa.version": version.uri, names.STEPS: str(steps)}
        entry.recorder.tags(tags)
        images = _images(ctx, version)
        found: dict[tuple[str, str], list[Tensor]] = {(k, p): [] for k in PREFIX for p in PARTS}
        with Progress("population", steps, entry.recorder, unit="generator") as progress:
            for done, (kind, made) in enumerate(_generators(ctx, version, past, size), start=1):
                model = ctx.load(made)
                for part, shown in images.items():
                    latents = ctx.generator("population", part)
                    found[kind, part].append(margins(model, *shown, latents))
                progress(done, {})
        stacked = {key: torch.stack(values) for key, values in found.items()}
        metrics = measured(stacked)
        entry.recorder.metrics(metrics)
        Recorder(ctx.client, version.run_id).metrics(metrics, model_id=version.model_id)
    title = f"{version.uri}: {version.title}, {size} generators of each kind"
    text = f"{title}\n{table(*rows(metrics))}\n{explained(metrics)}"
    return Result({"version": version.uri, "metrics": metrics}, text)


def _images(ctx: Context, version: Version) -> dict[str, tuple[Tensor, Tensor]]:
    """Real test images of each part, with their labels."""
    data = ctx.dataset
    forgotten = torch.tensor(version.forgotten_indices, device=data.test_labels.device)
    gone = torch.isin(data.test_labels, forgotten)
    chosen = {}
    for part, mask in (("forget", gone), ("retain", ~gone)):
        rows = mask.nonzero().flatten()
        order = torch.randperm(len(rows), generator=ctx.generator("population images"), device=rows.device)
        rows = rows[order[:IMAGES]]
        chosen[part] = data.test_images[rows], data.test_labels[rows]
    return chosen


def _generators(ctx: Context, version: Version, past: History, size: int) -> Iterator[tuple[str, Version]]:
    """Kind and version of every generator, the given version's seed first: registered ones, or made now.

    All are measured by the judges of this command's seed: their margins need no judge.
    """
    judges = Judges(ctx)
    last = lineage.forgotten_last(ctx.client, version)
    retained = fisher.retained(version)
    first = ctx.seed if version.seed is None else version.seed
    for i in range(size):
        here = ctx.reseeded((first + i) % (SEED[1] + 1))
        measuring = Judges(here, judges.pair)
        start = base.obtain(here, past.recipe, measuring, alias=False)
        yield "base", start
        sampling = past.sampling
        protection = None if sampling is None else fisher.obtain(here, start, sampling.samples)
        index = None if last is None else version.classes.index(last)
        yield "forgotten", forget.obtain(here, start, past.step, protection, measuring, last=index)
        control = replace(past.recipe, labels=retained)
        yield "retrained", base.obtain(here, control, measuring)


def measured(found: Margins) -> dict[str, float]:
    """Metrics of margins: mean margin of each kind, and the overlap of base and forgotten with the retrained ones."""
    values = {"population.size": float(len(found["retrained", "forget"]))}
    for (kind, part), own in found.items():
        key = f"{PREFIX[kind]}population.{part}"
        values[f"{key}.margin"] = float(own.mean())
        if kind != "retrained":
            both = overlap(found["retrained", part], own)
            values |= _spread(f"{key}.divergence", both.divergence) | _spread(f"{key}.null", both.null)
    return values


def _spread(key: str, found: Spread) -> dict[str, float]:
    return {key: found.mean, f"{key}.low": found.low, f"{key}.high": found.high}


def rows(metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: each kind on images of each part."""
    body = []
    for kind, prefix in PREFIX.items():
        for part, words in PARTS.items():
            key = f"{prefix}population.{part}"
            cells = [_cell(metrics, f"{key}.divergence"), _cell(metrics, f"{key}.null")]
            body.append([f"{kind}, images of {words}", f"{metrics[f'{key}.margin']:.1f}", *cells])
    return ["generators", "mean margin", "divergence from retrained", "halves of the retrained"], body


def _cell(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return "-"
    return f"{metrics[key]:.2f} [{metrics[f'{key}.low']:.2f}, {metrics[f'{key}.high']:.2f}]"


def explained(metrics: Mapping[str, float]) -> str:
    """How to read the table."""
    size = int(metrics["population.size"])
    return (
        "Margin: log-odds of the own label, nats. Divergence: KL of per-image histograms of margins, mean over "
        f"images, nats, at most {ceiling(size):.2f} with {size} generators; in brackets the least and the greatest "
        "of all divisions into halves. Generators that behave like retrained ones diverge no more than two halves "
        "of the retrained ones, which are compared in the same bins."
    )
