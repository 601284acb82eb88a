"""`latent`: the latent space of a version beside its parent's, in figures and numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sa_mlops.config import LatentConfig
from sa_mlops.registry import names
from sa_mlops.registry.tracking import Recorder
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent.animation import animate
from sa_mlops.stages.latent.claims import Claim
from sa_mlops.stages.latent.maps import draw
from sa_mlops.stages.latent.pair import Pair, check_axes, encode, subject
from sa_mlops.stages.latent.planar import PLANAR, Planar, planar
from sa_mlops.stages.latent.updates import compare
from sa_mlops.stages.result import Result, table


def run(config: LatentConfig, budget: Planar = PLANAR) -> Result:
    """Draw and measure the latent space of a version and of its parent."""
    started = time.monotonic()
    ctx = Context.open(config)
    before, after = subject(ctx, config)
    models = check_axes(ctx, config, before, after)
    with ctx.runs.entry("latent", config) as run:
        run.recorder.tags({names.STAGE: "latent", "sa.version": after.uri})
        for version in (before, after):
            run.recorder.used(version.model_id)
        pair = encode(ctx, config, before, after, models)
        claims, metrics = draw(ctx, config, run, pair)
        Recorder(ctx.client, after.run_id).metrics(metrics, model_id=after.model_id)
        animate(ctx, run, pair)
        if config.z2:
            found, values = planar(ctx, config, run, pair.forgotten, after.net, budget)
            claims, metrics = [*claims, *found], metrics | values
        updates = compare(ctx, run, config, pair) if config.updates else {}
        metrics |= {f"latent.update.{u}.{k}": v for u, row in updates.items() for k, v in row.items()}
        metrics["time.latent"] = time.monotonic() - started
        run.recorder.metrics(metrics)
    return _result(pair, claims, updates, metrics)


def _result(
    pair: Pair,
    claims: Sequence[Claim],
    updates: Mapping[str, Mapping[str, float]],
    metrics: Mapping[str, float],
) -> Result:
    document = {
        "version": pair.after.uri,
        "compared_with": pair.before.uri,
        "forgotten": [pair.classes[c] for c in pair.forgotten],
        "claims": [
            {"claim": c.name, "says": c.says, "value": c.value, "holds_from": c.least, "holds": c.holds}
            for c in claims
        ],
        "updates": {u: dict(row) for u, row in updates.items()},
        "metrics": dict(sorted(metrics.items())),
    }
    lines = [f"{pair.after.uri}: {pair.after.title}, beside {pair.before.uri}", ""]
    for c in claims:
        word = "holds" if c.holds else f"does not hold ({c.value:.2f}, from {c.least:g} on)"
        lines.append(f"{c.name}: {word}\n  {c.says}")
    if updates:
        rows = [
            [u, f"{r['forget']:.1f}", f"{r['replay']:.1f}", f"{r['ewc']:.1f}", f"{r['gradient_norm']:.3g}"]
            for u, r in updates.items()
        ]
        header = ["update, last tenth of its steps", "forget", "replay", "penalty", "gradient norm"]
        lines += ["", table(header, rows)]
    return Result(document, "\n".join(lines))
