"""The same comparison with two latents, whose space needs no map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sa_mlops.config import BaseConfig, ForgetConfig, LatentConfig
from sa_mlops.plots.latent import latent_pair
from sa_mlops.stages import base, forget
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent.claims import Claim, find, heading
from sa_mlops.stages.latent.figures import figure
from sa_mlops.stages.latent.pair import PURPOSE, encode
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.runs import StageRun


@dataclass(frozen=True, slots=True)
class Planar:
    """Budget of the experiment with z_dim 2."""

    base_steps: int = 3_000
    forget_steps: int = 300
    fisher_samples: int = 50_000


PLANAR = Planar()
"""Half of the fast recipe's steps: two latents are learned sooner than eight."""


def planar(
    ctx: Context, config: LatentConfig, run: StageRun, forgotten: tuple[int, ...], net: str, budget: Planar
) -> tuple[list[Claim], dict[str, float]]:
    """Train a base with z_dim 2 and the same net, let it forget the same classes, and draw both.

    Returns the claims and their metrics.
    """
    judges = Judges(ctx)
    common: dict[str, Any] = {
        "dataset": config.dataset,
        "seed": config.seed,
        "device": config.device,
        "z_dim": 2,
        "net": net,
    }
    recipe = BaseConfig(**common, steps=budget.base_steps)
    start = base.obtain(ctx, recipe.settings(), judges, alias=False)
    small: dict[str, Any] = {"steps": budget.forget_steps, "fisher_samples": budget.fisher_samples}
    step = ForgetConfig(**common, **small, classes=ctx.dataset.spec.names(forgotten))
    after = forget.obtain_from(ctx, step, start, judges)
    for version in (start, after):
        if version.uri in ctx.runs.made:
            ctx.client.set_model_version_tag(version.name, str(version.number), PURPOSE, "latent z_dim=2")
    pair = encode(ctx, config, start, after, (ctx.load(start), ctx.load(after)))
    found = find(pair)
    rows = pair.subset
    figure(
        run, "z2", latent_pair, pair.means_before[rows], pair.means_after[rows], pair.labels[rows],
        title=f"z_dim 2: {heading(found.claims[0], pair)}", classes=pair.classes, forgotten=forgotten,
    )  # fmt: skip
    claims = [replace(c, name=f"{c.name}, z_dim 2") for c in found.claims]
    return claims, {k.replace("latent.", "latent.z2.", 1): v for k, v in found.metrics.items()}
