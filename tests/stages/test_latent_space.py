"""Latent-space analyses on small point sets worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from sa_mlops.stages.latent.space import (
    Floats,
    Labels,
    centroid_distances,
    class_centroids,
    grey,
    joint_plane,
    map_grid,
    outcast,
    prior_grid,
    quarantine,
    tsne,
    tsne_pair,
)


def clusters(per_class: int = 20, apart: float = 10.0, seed: int = 0) -> tuple[Floats, Labels]:
    """Ten unit Gaussians in 8 dimensions whose means lie about `apart` from the origin."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), per_class)
    directions = rng.normal(size=(10, 8))
    centres = apart * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return centres[labels] + rng.normal(size=(len(labels), 8)), labels


def test_centroids_are_class_means() -> None:
    labels = np.repeat(np.arange(10), 2)
    means = np.stack([labels + np.tile([-0.5, 0.5], 10), np.zeros(20)], axis=1)
    np.testing.assert_allclose(class_centroids(means, labels, 10)[:, 0], np.arange(10))


def test_a_class_without_points_is_named() -> None:
    with pytest.raises(ValueError, match="class 3, 7"):
        class_centroids(np.zeros((8, 2)), np.array([0, 1, 2, 4, 5, 6, 8, 9]), 10)


def test_joint_plane_of_planar_centroids_keeps_their_distances() -> None:
    rng = np.random.default_rng(0)
    before, after = (np.pad(rng.normal(size=(10, 2)), ((0, 0), (0, 6))) for _ in range(2))
    plane = joint_plane(before, after)
    np.testing.assert_allclose(
        np.linalg.norm(plane.after - plane.before, axis=1), np.linalg.norm(after - before, axis=1)
    )


def test_doubled_centroids_have_the_ratio_two() -> None:
    before = np.random.default_rng(0).normal(size=(10, 8))
    ratio = centroid_distances(before, 2 * before).ratio
    np.testing.assert_allclose(ratio[~np.eye(10, dtype=bool)], 2.0)


def test_the_ratio_of_a_class_to_itself_is_undefined() -> None:
    before = np.random.default_rng(0).normal(size=(10, 8))
    assert np.isnan(np.diag(centroid_distances(before, before).ratio)).all()


def test_outcast_is_one_among_equals() -> None:
    assert outcast(1.0 - np.eye(10)).tolist() == pytest.approx([1.0] * 10)


def test_outcast_is_three_at_three_times_the_distance() -> None:
    distances = 1.0 - np.eye(10)
    distances[4, :] = distances[:, 4] = 3.0
    distances[4, 4] = 0.0
    assert outcast(distances)[4] == pytest.approx(3.0)


def test_a_class_far_away_is_in_quarantine() -> None:
    means, labels = clusters(apart=100.0)
    result = quarantine(means, labels, 10)
    assert result.purity.tolist() == [1.0] * 10


def test_a_class_spread_among_the_others_has_the_purity_of_chance() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)
    result = quarantine(rng.normal(size=(1000, 8)), labels, 10)
    assert result.purity.tolist() == pytest.approx([0.1] * 10, abs=0.03)


def test_silhouette_is_the_mean_over_the_class_alone() -> None:
    means, labels = clusters(apart=2.0)
    expected = silhouette_samples(means, labels)[labels == 3].mean()
    assert quarantine(means, labels, 10).silhouette[3] == pytest.approx(expected)


def test_a_point_is_not_its_own_neighbour() -> None:
    # Pairs (own, other) at the same place: the nearest neighbour of each own point is of the other class.
    places = np.arange(10.0).repeat(2)[:, None] * 10
    labels = np.tile([1, 0], 10)
    assert quarantine(places, labels, 10, neighbours=1).purity[1] == 0.0


def test_quarantine_of_a_class_without_points_is_not_a_number() -> None:
    means, labels = clusters()
    result = quarantine(means[labels != 7], labels[labels != 7], 10)
    assert np.flatnonzero(np.isnan(result.silhouette)).tolist() == [7]
    assert np.flatnonzero(np.isnan(result.purity)).tolist() == [7]


def test_quarantine_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="two classes"):
        quarantine(np.zeros((20, 2)), np.zeros(20, dtype=np.int64), 10)


def test_grey_is_dead_and_black_white_and_noise_are_not() -> None:
    noise = np.random.default_rng(0).random(784)
    checks = np.tile([0.0, 1.0], 392)
    cells = np.stack([np.full(784, 0.5), np.zeros(784), np.ones(784), noise, checks])
    assert grey(cells).tolist() == [True, False, False, False, False]


def test_tsne_repeats_with_its_seed() -> None:
    means, _ = clusters(per_class=8)
    np.testing.assert_array_equal(tsne(means, seed=3, perplexity=5), tsne(means, seed=3, perplexity=5))


def test_tsne_keeps_clusters_together() -> None:
    means, labels = clusters(per_class=8)
    assert quarantine(tsne(means, seed=0, perplexity=5), labels, 10, neighbours=3).purity.min() == 1.0


def test_the_second_map_of_a_pair_keeps_clusters_near_their_places() -> None:
    means, labels = clusters(per_class=30)
    moved = means + 0.1 * np.random.default_rng(1).normal(size=means.shape)
    before, after = tsne_pair(means, moved, seed=0, perplexity=15)
    first, second = (class_centroids(points, labels, 10) for points in (before, after))
    drift = np.linalg.norm(second - first, axis=1)
    spread = np.linalg.norm(first, axis=1).mean()
    assert drift.mean() < 0.5 * spread


def test_prior_grid_lies_at_the_quantiles() -> None:
    # Two cells: the quartiles of N(0, 1).
    z = prior_grid(2, side=2)
    np.testing.assert_allclose(np.unique(z), [-0.67449, 0.67449], atol=1e-5)


def test_prior_grid_runs_right_along_the_first_axis_and_up_along_the_second() -> None:
    q = 0.67449
    np.testing.assert_allclose(prior_grid(2, side=2), [[-q, q], [q, q], [-q, -q], [q, -q]], atol=1e-5)


def test_prior_grid_leaves_the_other_coordinates_at_zero() -> None:
    z = prior_grid(8, axes=(5, 2))
    assert z.shape == (400, 8)
    assert np.flatnonzero(np.abs(z).sum(axis=0)).tolist() == [2, 5]


@pytest.mark.parametrize("axes", [(0, 0), (0, 2), (-1, 0)])
def test_prior_grid_refuses_axes_that_are_not_there(axes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not two different axes"):
        prior_grid(2, axes=axes)


def test_map_grid_gives_back_the_latent_of_a_point_on_the_grid() -> None:
    corners = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    means = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(map_grid(corners, means, side=2, neighbours=2), means)


def test_map_grid_weighs_neighbours_by_inverse_distance() -> None:
    embedding = np.array([[0.0, 0.0], [4.0, 0.0]])
    # Columns at 0, 1, 2, 3, 4; at 1 the weights are 1 and 1/3.
    z = map_grid(embedding, np.array([[0.0], [1.0]]), side=5, neighbours=2)
    np.testing.assert_allclose(z[:5, 0], [0.0, 0.25, 0.5, 0.75, 1.0])


def test_six_points_are_enough_for_every_map() -> None:
    means, labels = clusters(per_class=2)
    means, labels = means[:6], labels[:6]
    first, second = tsne_pair(means, means + 1, seed=0)
    assert first.shape == second.shape == (6, 2)
    assert quarantine(means, labels, 3).purity.shape == (3,)
    assert map_grid(first, means, side=2).shape == (4, 8)
