"""Claims of the reference about the latent space, each with the numbers that decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sa_mlops.settings import CLASSES
from sa_mlops.stages.latent import space
from sa_mlops.stages.latent.pair import Floats, Pair

QUARANTINED = 0.5
"""Silhouette from which on a class is a cluster of its own ("reasonable structure", Kaufman and Rousseeuw, 1990)."""
OUTCAST = 2.0
"""Growth of a class's distances from which on it is an outcast: the reference saw them double or triple."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the reference, with our numbers.

    Attributes
    ----------
    name, says : the claim in a word, and in a sentence with its numbers.
    value : the number that decides.
    least : the claim holds from this value on.
    """

    name: str
    says: str
    value: float
    least: float

    @property
    def holds(self) -> bool:
        """Whether our model supports it."""
        return self.value >= self.least


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each class stands in one latent space, (10,) each; see `stages.latent.space`."""

    silhouette: Floats
    purity: Floats
    outcast: Floats


def standing(means: Floats, pair: Pair, distances: Floats) -> Standing:
    """Where each class stands; silhouettes and neighbourhoods over the subset."""
    apart = space.quarantine(means[pair.subset], pair.labels[pair.subset], CLASSES)
    return Standing(apart.silhouette, apart.purity, space.outcast(distances))


def find(
    pair: Pair,
) -> tuple[list[Claim], dict[str, float], space.CentroidDistances, tuple[Standing, Standing]]:
    """Quarantine and outcast, their metrics, the distances and the standing before and after.

    Metrics are means over the forgotten classes.
    """
    distances = space.centroid_distances(
        space.class_centroids(pair.means_before, pair.labels, CLASSES),
        space.class_centroids(pair.means_after, pair.labels, CLASSES),
    )
    was = standing(pair.means_before, pair, distances.before)
    now = standing(pair.means_after, pair, distances.after)
    gone = list(pair.gone)
    kept = [c for c in range(CLASSES) if c not in pair.gone]
    grown = float(np.nanmean(distances.ratio[np.ix_(gone, kept)]))
    metrics = {
        "latent.silhouette": float(now.silhouette[gone].mean()),
        "latent.purity": float(now.purity[gone].mean()),
        "latent.outcast": float(now.outcast[gone].mean()),
        "latent.before.silhouette": float(was.silhouette[gone].mean()),
        "latent.before.purity": float(was.purity[gone].mean()),
        "latent.before.outcast": float(was.outcast[gone].mean()),
        "latent.distance_ratio": grown,
        "latent.distance_ratio_retained": float(np.nanmean(distances.ratio[np.ix_(kept, kept)])),
    }
    m = metrics
    claims = [
        Claim(
            "quarantine",
            f"silhouette {m['latent.silhouette']:.2f} ({m['latent.before.silhouette']:.2f} before), "
            f"{m['latent.purity']:.0%} of the nearest neighbours its own ({m['latent.before.purity']:.0%} before)",
            m["latent.silhouette"], QUARANTINED,
        ),
        Claim(
            "outcast",
            f"distances grown {grown:.2f}-fold, those among the others {m['latent.distance_ratio_retained']:.2f}-fold; "
            f"{m['latent.outcast']:.2f} times as far from the others as they from each other "
            f"({m['latent.before.outcast']:.2f} before)",
            grown, OUTCAST,
        ),
    ]  # fmt: skip
    return claims, metrics, distances, (was, now)


def heading(claim: Claim, pair: Pair) -> str:
    """A figure's title: whether the claim holds, then its numbers."""
    subject = pair.named[0].upper() + pair.named[1:]
    verb = "are" if len(pair.gone) > 1 else "is"
    what = {"quarantine": "a cluster of its own", "outcast": "twice as far out"}[claim.name.split(",")[0]]
    return f"{subject} {verb} {what if claim.holds else f'not {what}'}: {claim.says.split(';')[0]}"
