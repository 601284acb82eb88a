"""Maps of the latent space before and after: t-SNE, decoded manifold, centroids and their distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sa_mlops.config import LatentConfig
from sa_mlops.models.interface import CVAE
from sa_mlops.plots.latent import centroid_moves, distance_matrices, embedding_pair, manifold_pair
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent import space
from sa_mlops.stages.latent.claims import Claim, Findings, find, heading
from sa_mlops.stages.latent.figures import figure
from sa_mlops.stages.latent.pair import Floats, Pair
from sa_mlops.stages.progress import say
from sa_mlops.stages.runs import StageRun

SIDE = 20
"""Images a side of the decoded manifold."""
DEAD = 0.9
"""Share of grey images from which on a manifold is dead."""


def draw(
    ctx: Context, config: LatentConfig, run: StageRun, pair: Pair
) -> tuple[list[Claim], dict[str, float]]:
    """Draw the maps of a pair; the claims about them and their metrics."""
    title = f"v{pair.before.number} and v{pair.after.number}"
    say(f"{title}: silhouettes, neighbourhoods and centroids")
    found = find(pair)
    quarantine, outcast = found.claims
    named: dict[str, Any] = {"classes": pair.classes, "forgotten": pair.forgotten}

    say(f"{title}: t-SNE of {len(pair.subset)} test images, twice")
    rows = pair.subset
    maps = space.tsne_pair(pair.means_before[rows], pair.means_after[rows], config.seed)
    figure(run, "tsne", embedding_pair, *maps, pair.labels[rows], title=heading(quarantine, pair), **named)

    index = config.class_index("label")
    label = pair.forgotten[0] if index is None else index
    say(f"{title}: manifold of class {pair.classes[label]}, {SIDE} x {SIDE}")
    latents = _grids(config, pair, maps)
    before = _decode(ctx, pair.model_before, latents[0], label)
    after = _decode(ctx, pair.model_after, latents[1], label)
    dead = [float(space.grey(grid.reshape(-1, *grid.shape[2:])).mean()) for grid in (before, after)]
    metrics = {**found.metrics, "latent.dead_zone": dead[1], "latent.before.dead_zone": dead[0]}
    sentence = f"{dead[1]:.0%} of the manifold of class {pair.classes[label]} is grey ({dead[0]:.0%} before)"
    claims = found.claims
    if label in pair.forgotten:
        claims = [*claims, Claim("dead zone", sentence, dead[1], DEAD)]
    axes = ("t-SNE 1", "t-SNE 2") if config.plane is None else tuple(f"z{a + 1}" for a in config.plane)
    figure(run, "manifold", manifold_pair, before, after, title=sentence, axes_names=axes)

    say(f"{title}: centroids")
    means = pair.means_before, pair.means_after
    plane = space.joint_plane(*(space.class_centroids(m, pair.labels, len(pair.classes)) for m in means))
    moved = {"title": heading(outcast, pair), "explained": plane.explained}
    figure(run, "centroids", centroid_moves, plane.before, plane.after, **moved, **named)
    grown = metrics["latent.distance_ratio"], metrics["latent.distance_ratio_retained"]
    words = f"Distances to {pair.named} grow {grown[0]:.2f}-fold, those among the others {grown[1]:.2f}-fold"
    d = found.distances
    figure(run, "centroid_distances", distance_matrices, d.before, d.after, d.ratio, title=words, **named)
    run.client.log_table(run.run_id, _rows(pair, found), "tables/latent_classes.json")
    return claims, metrics


def _grids(config: LatentConfig, pair: Pair, maps: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Latents (side * side, z_dim) behind the manifold of each net: the same, or those behind its own map."""
    if config.plane is not None:
        z = space.prior_grid(pair.model_after.z_dim, config.plane, SIDE)
        return z, z
    before, after = pair.means_before[pair.subset], pair.means_after[pair.subset]
    return space.map_grid(maps[0], before, SIDE), space.map_grid(maps[1], after, SIDE)


def _decode(ctx: Context, model: CVAE, z: Floats, label: int) -> NDArray[np.float32]:
    """Images (side, side, C, H, W) of latents (side * side, z_dim) under one label."""
    latents = torch.from_numpy(z).to(ctx.device)
    with torch.no_grad():
        images = model.sample(latents, torch.full((len(z),), label, device=ctx.device))
    array: NDArray[np.float32] = images.view(SIDE, SIDE, *model.shape).cpu().numpy()
    return array


def _rows(pair: Pair, found: Findings) -> dict[str, list[str] | list[bool] | list[float]]:
    """One row a class."""
    columns = {
        f"{word} {when}": getattr(where, word)
        for word in ("silhouette", "purity", "outcast")
        for when, where in (("before", found.before), ("after", found.after))
    }
    columns["mean distance ratio"] = np.nanmean(found.distances.ratio, axis=1)
    rounded = {name: np.round(values.astype(float), 4).tolist() for name, values in columns.items()}
    forgotten = [c in pair.forgotten for c in range(len(pair.classes))]
    return {"class": list(pair.classes), "forgotten": forgotten, **rounded}
