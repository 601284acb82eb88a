"""Claims of the reference about the latent space, each with the numbers that decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sa_mlops.stages.latent import space
from sa_mlops.stages.latent.pair import Floats, Pair
from sa_mlops.stages.latent.space import CentroidDistances

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
    """Where each class stands in one latent space, (K,) each; see `core.latent`."""

    silhouette: Floats
    purity: Floats
    outcast: Floats


@dataclass(frozen=True, slots=True)
class Findings:
    """The claims about a pair, their metrics, and the numbers of every class behind them."""

    claims: list[Claim]
    metrics: dict[str, float]
    distances: CentroidDistances
    before: Standing
    after: Standing


def standing(means: Floats, pair: Pair, distances: Floats) -> Standing:
    """Where each class stands; silhouettes and neighbourhoods over the subset."""
    apart = space.quarantine(means[pair.subset], pair.labels[pair.subset], len(pair.classes))
    return Standing(apart.silhouette, apart.purity, space.outcast(distances))


def find(pair: Pair) -> Findings:
    """Quarantine and outcast; their metrics are means over the forgotten classes."""
    count = len(pair.classes)
    distances = space.centroid_distances(
        space.class_centroids(pair.means_before, pair.labels, count),
        space.class_centroids(pair.means_after, pair.labels, count),
    )
    was = standing(pair.means_before, pair, distances.before)
    now = standing(pair.means_after, pair, distances.after)
    forgotten = list(pair.forgotten)
    retained = [c for c in range(count) if c not in forgotten]
    m = {
        f"{prefix}{word}": float(getattr(where, word)[forgotten].mean())
        for prefix, where in (("", now), ("before.", was))
        for word in ("silhouette", "purity", "outcast")
    }
    m["distance_ratio"] = float(np.nanmean(distances.ratio[np.ix_(forgotten, retained)]))
    m["distance_ratio_retained"] = float(np.nanmean(distances.ratio[np.ix_(retained, retained)]))
    quarantine = (
        f"silhouette {m['silhouette']:.2f} ({m['before.silhouette']:.2f} before), {m['purity']:.0%} of the nearest "
        f"neighbours its own ({m['before.purity']:.0%} before)"
    )
    outcast = (
        f"distances grown {m['distance_ratio']:.2f}-fold, those among the others "
        f"{m['distance_ratio_retained']:.2f}-fold; {m['outcast']:.2f} times as far from the others as they from each "
        f"other ({m['before.outcast']:.2f} before)"
    )
    claims = [
        Claim("quarantine", quarantine, m["silhouette"], QUARANTINED),
        Claim("outcast", outcast, m["distance_ratio"], OUTCAST),
    ]
    return Findings(claims, {f"latent.{k}": v for k, v in m.items()}, distances, was, now)


def heading(claim: Claim, pair: Pair) -> str:
    """A figure's title: whether the claim holds, then its numbers."""
    verb = "are" if len(pair.forgotten) > 1 else "is"
    words = {"quarantine": "a cluster of its own", "outcast": "twice as far out"}[claim.name]
    subject = pair.named[0].upper() + pair.named[1:]
    return f"{subject} {verb}{'' if claim.holds else ' not'} {words}: {claim.says.split(';')[0]}"
