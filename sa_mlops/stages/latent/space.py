"""Maps of the latent space before and after forgetting, and a measure for each claim about them.

Everything works on NumPy arrays of posterior means; scikit-learn does t-SNE, PCA, silhouettes and neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances, silhouette_samples
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors
from threadpoolctl import threadpool_info, threadpool_limits

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

GREY_LEVEL = 0.1
"""A grey cell's mean is within this of 0.5. MNIST images lie near 0.13, most of them below 0.3."""
GREY_VARIANCE = 0.01
"""A grey cell's variance over pixels is at most this. MNIST images lie near 0.09, few below 0.03."""


@dataclass(frozen=True, slots=True)
class CentroidPlane:
    """Class centroids of two models in one plane.

    Attributes
    ----------
    before, after : (K, 2) coordinates on the same two principal axes.
    explained : (2,) share of the variance of all 2K centroids on each axis, [0, 1].
    """

    before: Floats
    after: Floats
    explained: Floats


@dataclass(frozen=True, slots=True)
class CentroidDistances:
    """Euclidean distances between class centroids.

    Attributes
    ----------
    before, after : (K, K) symmetric, diagonal 0.
    ratio : (K, K) after over before; NaN on the diagonal.
    """

    before: Floats
    after: Floats
    ratio: Floats


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Separation of each class from the others; NaN for a class without points.

    Attributes
    ----------
    silhouette : (K,) mean silhouette of the class's points, [-1, 1] (Rousseeuw, 1987); near 1 is a cluster apart.
    purity : (K,) mean share of the same class among the nearest neighbours of its points, [0, 1].
    """

    silhouette: Floats
    purity: Floats


def class_centroids(means: Floats, labels: Labels, classes: int) -> Floats:
    """Mean of each class: means (n, z_dim) and labels (n,) -> (K, z_dim). ValueError names a class without points."""
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise ValueError(f"no points of class {', '.join(map(str, missing))}")
    return np.stack([means[labels == c].mean(axis=0) for c in range(classes)])


def joint_plane(before: Floats, after: Floats) -> CentroidPlane:
    """Project two models' centroids (K, z_dim), z_dim >= 2, on the two main axes of all 2K (PCA)."""
    pca = PCA(n_components=2, svd_solver="full").fit(np.concatenate([before, after]))
    return CentroidPlane(pca.transform(before), pca.transform(after), pca.explained_variance_ratio_)


def centroid_distances(before: Floats, after: Floats) -> CentroidDistances:
    """Distances among each model's centroids (K, z_dim), and how they changed."""
    d_before, d_after = pairwise_distances(before), pairwise_distances(after)
    ratio = np.full_like(d_before, np.nan)
    np.divide(d_after, d_before, out=ratio, where=d_before > 0)
    return CentroidDistances(d_before, d_after, ratio)


def outcast(distances: Floats) -> Floats:
    """Mean distance of each class's centroid to the others, over the mean distance among those others: (K,).

    About 1 for a class among the others, 2 or 3 for one far outside. Distances are (K, K).
    """
    classes = len(distances)
    to_others = distances.sum(axis=1)
    # The distances among the others exclude the class's row and column.
    among = distances.sum() - 2 * to_others
    ratio: Floats = (to_others / (classes - 1)) / (among / ((classes - 1) * (classes - 2)))
    return ratio


def quarantine(means: Floats, labels: Labels, classes: int, neighbours: int = 10) -> Quarantine:
    """Separation of the points of each class from all other points.

    Time and memory for distances grow with n^2; suited to some thousands of points.

    Parameters
    ----------
    means : (n, z_dim).
    labels : (n,) int, below `classes`.
    neighbours : size of the neighbourhood behind the purity; the point itself is not counted.

    Raises ValueError if fewer than two classes have points.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("needs points of two classes or more")
    neighbours = min(neighbours, len(means) - 1)
    nearest = NearestNeighbors(n_neighbors=neighbours + 1).fit(means).kneighbors(means, return_distance=False)
    # An equal point may come first in the list: the point itself is dropped by its row, not by its rank.
    others = nearest != np.arange(len(means))[:, None]
    others[others.all(axis=1), -1] = False
    own = labels[nearest[others].reshape(-1, neighbours)] == labels[:, None]
    return Quarantine(
        _class_means(silhouette_samples(means, labels), labels, classes),
        _class_means(own.mean(axis=1), labels, classes),
    )


def _class_means(values: Floats, labels: Labels, classes: int) -> Floats:
    """Mean of values (n,) over each class, NaN without any: (K,)."""
    return np.array([values[labels == c].mean() if (labels == c).any() else np.nan for c in range(classes)])


def grey(images: Floats) -> NDArray[np.bool_]:
    """Which of the images (n, C, H, W) in [0, 1] are grey, as the output of a decoder whose target was noise: (n,)."""
    pixels = images.reshape(len(images), -1)
    level = np.abs(pixels.mean(axis=1) - 0.5) <= GREY_LEVEL
    found: NDArray[np.bool_] = level & (pixels.var(axis=1) <= GREY_VARIANCE)
    return found


def tsne(points: Floats, seed: int, perplexity: float = 30.0, start: Floats | None = None) -> Floats:
    """t-SNE map (n, 2) of points (n, d) (van der Maaten and Hinton, 2008); equal for equal arguments.

    About 4 s for 3,000 points and 26 s for 10,000 on two cores.

    Parameters
    ----------
    perplexity : effective number of neighbours; a third of the points at most.
    start : (n, 2) centred map to start from, rescaled; by default the first two principal components.
    """
    # The usual start of standard deviation 1e-4 lets clusters swap places; at 1 they stay, at equal quality.
    init: str | Floats = "pca" if start is None else (start / start.std()).astype(np.float32)
    # With three threads or more the order of a sum varies, and t-SNE amplifies its last bit into another map.
    # Never more than the environment allows: two that wait for one core spin.
    allowed = (pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
    with threadpool_limits(limits=min([2, *allowed]), user_api="openmp"):
        perplexity = min(perplexity, (len(points) - 1) / 3)
        embedding: Floats = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(points)
    return embedding


def tsne_pair(before: Floats, after: Floats, seed: int, perplexity: float = 30.0) -> tuple[Floats, Floats]:
    """Comparable t-SNE maps (n, 2): the second starts from the first, so that clusters keep their places.

    Both are centred, and the second is turned (and mirrored) onto the first; t-SNE fixes neither.

    Parameters
    ----------
    before, after : (n, d) posterior means of the same images under two models.
    """
    first = tsne(before, seed, perplexity)
    first -= first.mean(axis=0)
    second = tsne(after, seed, perplexity, start=first)
    second -= second.mean(axis=0)
    left, _, right = np.linalg.svd(second.T @ first)
    return first, second @ (left @ right)


def prior_grid(z_dim: int, axes: tuple[int, int] = (0, 1), side: int = 20) -> Floats:
    """Latents on a square grid over the prior's quantiles, row by row: (side * side, z_dim) float32.

    Cell i of a side lies at the (i + 1/2) / side quantile of N(0, 1) (Kingma and Welling, 2014, figure 4).
    The first axis grows to the right, the second upwards; every other coordinate is 0.
    Raises ValueError unless `axes` are two different axes of the latent space.
    """
    if len(set(axes)) != 2 or not all(0 <= axis < z_dim for axis in axes):
        raise ValueError(f"axes {axes} are not two different axes of a latent space of {z_dim}")
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)])
    z = np.zeros((side, side, z_dim), dtype=np.float32)
    z[..., axes[0]] = quantiles[None, :]
    z[..., axes[1]] = quantiles[::-1, None]
    return z.reshape(-1, z_dim)


def map_grid(embedding: Floats, means: Floats, side: int = 20, neighbours: int = 5) -> Floats:
    """Latents (side * side, z_dim) of a square grid on a t-SNE map, which has no inverse; rows from the top.

    The grid spans the map's bounding box. A cell's latent is the mean of the posterior means of its nearest
    embedded points, weighted by inverse distance.

    Parameters
    ----------
    embedding : (n, 2).
    means : (n, z_dim), row by row the points embedded.
    """
    low, high = embedding.min(axis=0), embedding.max(axis=0)
    x, y = np.linspace(low[0], high[0], side), np.linspace(high[1], low[1], side)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    nearest = min(neighbours, len(means))
    inverse = KNeighborsRegressor(n_neighbors=nearest, weights="distance").fit(embedding, means)
    latents: Floats = inverse.predict(points).astype(np.float32)
    return latents
