"""The two generators that are compared, and where their encoders put the test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sa_mlops.config import LatentConfig
from sa_mlops.errors import CommandError
from sa_mlops.models.interface import CVAE, one_hot
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import lineage, names, versions
from sa_mlops.registry.version import Version
from sa_mlops.stages.context import Context
from sa_mlops.stages.progress import say

Floats = NDArray[np.floating]
CHUNK = 10_000
"""Images that are encoded at a time."""
PURPOSE = "sa.purpose"
"""On a version that this stage made for a figure; `latest` does not mean it here."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A version, the generator it is compared with, and the posterior means of the test images under both.

    Attributes
    ----------
    classes : names of all classes.
    forgotten : indices of the classes that the later one has forgotten and the earlier one has not.
    means_before, means_after : (n, z_dim).
    labels : (n,) int.
    subset : rows of the images used where time grows with the square of their number.
    """

    before: Version
    after: Version
    classes: tuple[str, ...]
    forgotten: tuple[int, ...]
    model_before: CVAE
    model_after: CVAE
    means_before: Floats
    means_after: Floats
    labels: NDArray[np.int64]
    subset: NDArray[np.int64]

    @property
    def named(self) -> str:
        """The forgotten classes in a sentence: `class 1`, `classes coat, shirt`."""
        word = "class" if len(self.forgotten) == 1 else "classes"
        return f"{word} {', '.join(self.classes[c] for c in self.forgotten)}"


def subject(ctx: Context, config: LatentConfig) -> tuple[Version, Version]:
    """The generator to compare with, and the one that the command is about.

    The first is the parent of the second; for a retrained generator it is the base of its recipe.

    Raises ParameterError if there is no such version, or it has forgotten nothing;
    CommandError if it has neither a parent nor a base.
    """
    after = ctx.named_generator("version", config.version)
    if config.version == names.LATEST_ALIAS and PURPOSE in after.tags:
        for older in versions.all_versions(ctx.client, names.GENERATORS):
            if PURPOSE not in older.tags:
                say(f"{after.uri} was made for a figure; {older.uri} is used")
                after = ctx.named_generator("version", str(older.number))
                break
    if not after.forgotten:
        allowed = f"a generator that has forgotten a class; {after.uri} has not"
        raise ParameterError("version", config.version, allowed)
    if after.parent is not None:
        return versions.get(ctx.client, names.GENERATORS, after.parent), after
    root = lineage.base_of(ctx.client, after)
    if root is None:
        raise CommandError(f"{after.uri} has neither a parent nor a base here; nothing to compare it with")
    return root, after


def check_axes(ctx: Context, config: LatentConfig, before: Version, after: Version) -> tuple[CVAE, CVAE]:
    """Both nets.

    Raises ParameterError if they lack an axis that is asked for, or differ in their latent size.
    """
    models = ctx.load(before), ctx.load(after)
    z_dim = models[1].z_dim
    if models[0].z_dim != z_dim:
        allowed = f"a generator with the latent size of {before.uri}, {models[0].z_dim}"
        raise ParameterError("version", config.version, allowed)
    if z_dim < 2:
        allowed = f"a generator with z_dim 2 or more; {after.uri} has 1"
        raise ParameterError("version", config.version, allowed)
    if config.plane is not None and max(config.plane) >= z_dim:
        raise ParameterError("axes", config.axes, f"two different axes from 0 to {z_dim - 1}, or tsne")
    return models


def encode(
    ctx: Context, config: LatentConfig, before: Version, after: Version, models: tuple[CVAE, CVAE]
) -> Pair:
    """Posterior means of all test images under both nets, each image with its own label.

    Raises ParameterError for data with a single test image of a class, which has no silhouette.
    """
    images, labels = ctx.dataset.test_images, ctx.dataset.test_labels
    if int(torch.bincount(labels).min()) < 2:
        raise ParameterError("dataset", config.dataset, "one with two test images of every class or more")
    with torch.no_grad():
        means = [
            np.concatenate([
                model.encode(rows, one_hot(classes, model.classes))[0].cpu().numpy()
                for rows, classes in zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
            ])
            for model in models
        ]  # fmt: skip
    size = min(config.subset, len(labels))
    subset = np.sort(np.random.default_rng(config.seed).choice(len(labels), size, replace=False))
    all_forgotten, earlier = after.forgotten_indices, before.forgotten_indices
    forgotten = tuple(c for c in all_forgotten if c not in earlier) or all_forgotten
    return Pair(
        before, after, ctx.classes, forgotten, *models, means[0], means[1], labels.cpu().numpy(), subset
    )
