"""Animations of how the base learned and how the version forgot, from the grids that their runs logged."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image, UnidentifiedImageError

from sa_mlops.plots.animation import animated_grid, tiles
from sa_mlops.plots.style import DARK, LIGHT
from sa_mlops.registry import lineage
from sa_mlops.registry.version import Version
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent.figures import file
from sa_mlops.stages.latent.pair import Floats, Pair
from sa_mlops.stages.progress import say
from sa_mlops.stages.runs import StageRun

GRID_IMAGE = re.compile(r"samples\+step\+(\d+)\+timestamp\+(\d+)\+[0-9a-f-]+\.png")
"""File of a time-stepped image, as MLflow names it."""


def animate(ctx: Context, run: StageRun, pair: Pair) -> None:
    """Animate the training of the base and of the version."""
    root = lineage.base_of(ctx.client, pair.after)
    if root is not None:
        _animation(ctx, run, root, "learning", "loss")
    if pair.after.stage == "forget":
        _animation(ctx, run, pair.after, "forgetting", "forget")


def _animation(ctx: Context, run: StageRun, version: Version, name: str, term: str) -> None:
    grids = logged_grids(run.client, version, ctx.dataset.spec.shape)
    if not grids:
        say(f"{version.title}: its run holds no sample grids; nothing to animate")
        return
    say(f"{version.title}: {len(grids)} sample grids animated")
    history = {
        m.step: m.value
        for prefix in ("train/", "train.")  # the second in older stores
        for m in run.client.get_metric_history(version.run_id, prefix + term)
    }
    captions = [_caption(step, max(grids), term, history) for step in grids]
    with tempfile.TemporaryDirectory() as folder:
        for theme in (LIGHT, DARK):
            path = Path(folder) / file(name, theme, "gif")
            path.write_bytes(
                animated_grid(
                    list(grids.values()), captions, classes=version.classes, forgotten=version.forgotten_indices,
                    milliseconds=250, theme=theme,
                )
            )  # fmt: skip
            run.client.log_artifact(run.run_id, str(path), "figures")


def logged_grids(client: MlflowClient, version: Version, shape: tuple[int, int, int]) -> dict[int, Floats]:
    """Sample grids (rows, K, C, H, W) that a version's run logged while it trained, by step; empty without any."""
    try:
        folder = Path(client.download_artifacts(version.run_id, "images"))
    except (MlflowException, OSError):
        return {}
    found: dict[int, tuple[int, Path]] = {}
    for path in folder.iterdir():
        match = GRID_IMAGE.fullmatch(path.name)
        if match:
            step, stamp = int(match[1]), int(match[2])
            found[step] = max(found.get(step, (0, path)), (stamp, path))
    grids = {}
    for step, (_, path) in sorted(found.items()):
        try:
            with Image.open(path) as picture:
                grids[step] = tiles(np.asarray(picture.convert("L" if shape[0] == 1 else "RGB")), 2, shape)
        except (UnidentifiedImageError, OSError, ValueError):
            say(f"{path.name}: not a grid of samples; ignored")
    return grids


def _caption(step: int, last: int, term: str, history: Mapping[int, float]) -> str:
    """Step, and the loss there, between the steps where it was logged."""
    text = f"step {step} of {last}"
    if not history or not min(history) <= step <= max(history):
        return text
    value = np.interp(step, sorted(history), [history[s] for s in sorted(history)])
    return f"{text}   {'loss' if term == 'loss' else f'{term} term'} {value:,.1f} nats"
