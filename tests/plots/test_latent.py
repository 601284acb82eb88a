"""Pictures of the latent space; a class has one colour and one marker in all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sa_mlops.plots.latent import (
    centroid_moves,
    distance_matrices,
    embedding_pair,
    latent_pair,
    manifold_pair,
)
from sa_mlops.plots.style import CLASS_COLOURS, LIGHT, Floats, Labels, Theme

CLASSES = tuple("0123456789")
Pair = Callable[..., Figure]
PAIRS = [embedding_pair, latent_pair]


@pytest.fixture
def labels() -> Labels:
    return np.arange(100) % 10


@pytest.fixture
def points(labels: Labels) -> Floats:
    """Class c lies at (c, c), so that a dot tells its class."""
    return np.stack([labels, labels], axis=1).astype(float)


def colour_of_classes(figure: Figure, panel: int) -> dict[int, str]:
    dots = [c for c in figure.axes[panel].collections if isinstance(c, PathCollection)]
    return {int(np.asarray(d.get_offsets())[0, 0]): to_hex(d.get_facecolor()[0]) for d in dots}


@pytest.mark.parametrize("pair", PAIRS)
class TestPairs:
    def test_it_is_drawn(
        self, pair: Pair, points: Floats, labels: Labels, theme: Theme, render: Callable[[Figure], Floats]
    ) -> None:
        figure = pair(
            points, points + 1, labels, title="The 1 moves away", classes=CLASSES, forgotten={1}, theme=theme
        )
        assert len(np.unique(render(figure))) > 50

    @pytest.mark.parametrize("forgotten", [(), (1,), (0, 9)])
    def test_a_class_keeps_its_colour_when_another_is_forgotten(
        self, pair: Pair, points: Floats, labels: Labels, forgotten: tuple[int, ...]
    ) -> None:
        figure = pair(points, points, labels, title="", classes=CLASSES, forgotten=forgotten)
        assert colour_of_classes(figure, 0) == dict(enumerate(CLASS_COLOURS))

    def test_both_panels_have_the_same_colours(self, pair: Pair, points: Floats, labels: Labels) -> None:
        figure = pair(points, points, labels, title="", classes=CLASSES, forgotten={1})
        assert colour_of_classes(figure, 0) == colour_of_classes(figure, 1)

    def test_forgotten_classes_lie_on_top(self, pair: Pair, points: Floats, labels: Labels) -> None:
        figure = pair(points, points, labels, title="", classes=CLASSES, forgotten={3})
        assert list(colour_of_classes(figure, 0))[-1] == 3

    def test_the_key_names_the_forgotten(self, pair: Pair, points: Floats, labels: Labels) -> None:
        (key,) = pair(points, points, labels, title="", classes=CLASSES, forgotten={3}).legends
        assert [t.get_text() for t in key.get_texts()][2:5] == ["2", "3 forgotten", "4"]

    def test_a_class_without_images_is_no_error(
        self, pair: Pair, points: Floats, labels: Labels, render: Callable[[Figure], Floats]
    ) -> None:
        seen = labels != 4
        assert render(pair(points[seen], points[seen], labels[seen], title="", classes=CLASSES)).size


class TestLatentPair:
    def test_both_panels_have_one_scale(self, points: Floats, labels: Labels) -> None:
        figure = latent_pair(points, 5 * points, labels, title="", classes=CLASSES)
        assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()

    def test_nothing_lies_outside(self, points: Floats, labels: Labels) -> None:
        figure = latent_pair(points, -5 * points, labels, title="", classes=CLASSES)
        low, high = figure.axes[0].get_xlim()
        assert low < -45
        assert high > 45


class TestCentroids:
    @pytest.fixture
    def centroids(self) -> Floats:
        return np.stack([np.arange(10.0), np.zeros(10)], axis=1)

    def test_they_are_drawn(
        self, centroids: Floats, theme: Theme, render: Callable[[Figure], Floats]
    ) -> None:
        figure = centroid_moves(
            centroids,
            centroids + 1,
            title="",
            classes=CLASSES,
            explained=np.array([0.6, 0.3]),
            forgotten={1},
            theme=theme,
        )
        assert len(np.unique(render(figure))) > 50

    def test_axes_say_how_much_they_explain(self, centroids: Floats) -> None:
        axes = centroid_moves(
            centroids, centroids + 1, title="", classes=CLASSES, explained=np.array([0.6, 0.3])
        ).axes[0]
        assert "60%" in axes.get_xlabel()
        assert "30%" in axes.get_ylabel()

    def test_a_class_keeps_its_colour(self, centroids: Floats) -> None:
        axes = centroid_moves(
            centroids, centroids + 1, title="", classes=CLASSES, explained=np.array([0.6, 0.3])
        ).axes[0]
        after = axes.collections[1::2]
        assert [to_hex(c.get_facecolor()[0]) for c in after] == list(CLASS_COLOURS)

    def test_centroids_that_stay_are_no_error(
        self, centroids: Floats, render: Callable[[Figure], Floats]
    ) -> None:
        figure = centroid_moves(
            centroids, centroids, title="", classes=CLASSES, explained=np.array([0.6, 0.3])
        )
        assert render(figure).size


class TestDistances:
    @pytest.fixture
    def distances(self) -> Floats:
        x = np.arange(10.0)
        return np.abs(x[:, None] - x[None, :])

    @pytest.fixture
    def ratio(self, distances: Floats) -> Floats:
        ratio = np.full_like(distances, 2.0)
        np.fill_diagonal(ratio, np.nan)
        return ratio

    def test_they_are_drawn(
        self, distances: Floats, ratio: Floats, theme: Theme, render: Callable[[Figure], Floats]
    ) -> None:
        figure = distance_matrices(
            distances, 2 * distances, ratio, title="", classes=CLASSES, forgotten={1}, theme=theme
        )
        assert len(np.unique(render(figure))) > 50

    def test_before_and_after_have_one_scale(self, distances: Floats, ratio: Floats) -> None:
        figure = distance_matrices(distances, 2 * distances, ratio, title="", classes=CLASSES)
        scales = [axes.get_images()[0].get_clim() for axes in figure.axes[:2]]
        assert scales == [(0.0, 18.0)] * 2

    def test_the_ratio_of_a_class_to_itself_is_left_empty(self, distances: Floats, ratio: Floats) -> None:
        figure = distance_matrices(distances, 2 * distances, ratio, title="", classes=CLASSES)
        assert len(figure.axes[2].texts) == 90

    def test_the_forgotten_class_is_marked_on_both_axes(self, distances: Floats, ratio: Floats) -> None:
        axes = distance_matrices(distances, distances, ratio, title="", classes=CLASSES, forgotten={1}).axes[
            0
        ]
        marked = [
            [c for c, t in enumerate(ticks) if to_hex(t.get_color()) == LIGHT.accent]
            for ticks in (axes.get_xticklabels(), axes.get_yticklabels())
        ]
        assert marked == [[1], [1]]


class TestManifold:
    def test_it_is_drawn(
        self, rng: np.random.Generator, theme: Theme, render: Callable[[Figure], Floats]
    ) -> None:
        images = rng.random((5, 5, 1, 28, 28))
        assert len(np.unique(render(manifold_pair(images, 1 - images, title="", theme=theme)))) > 50

    def test_images_lie_side_by_side(self, rng: np.random.Generator) -> None:
        before, after = rng.random((2, 4, 4, 1, 28, 28), dtype=np.float32)
        for axes, images in zip(manifold_pair(before, after, title="").axes, (before, after), strict=True):
            canvas = axes.get_images()[0].get_array()
            assert canvas is not None
            assert np.array_equal(canvas[28:56, 56:84], images[1, 2, 0])
