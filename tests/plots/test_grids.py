"""Grids of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sa_mlops.plots.attacks import attack_strips
from sa_mlops.plots.grids import Answers, before_after, headings, mosaic, sample_grid, sequential_columns
from sa_mlops.plots.style import LIGHT, Floats

PIXEL, GAP = 28, 2
CLASSES = tuple("0123456789")
CLOTHES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@pytest.fixture
def images(rng: np.random.Generator) -> Floats:
    return rng.random((3, 10, 1, 28, 28), dtype=np.float32)


def heading_colours(axes: Axes) -> list[str]:
    return [to_hex(label.get_color()) for label in axes.get_xticklabels()]


class TestMosaic:
    def test_every_image_sits_in_its_cell(self, images: Floats) -> None:
        canvas = mosaic(images)
        top, left = 2 * (PIXEL + GAP), 7 * (PIXEL + GAP)
        assert np.array_equal(canvas[top : top + PIXEL, left : left + PIXEL], images[2, 7, 0])

    def test_gaps_are_nan(self, images: Floats) -> None:
        assert np.isnan(mosaic(images)[:, PIXEL : PIXEL + GAP]).all()

    def test_captions_add_room_under_each_row(self, images: Floats) -> None:
        assert mosaic(images, caption=10).shape[0] == 3 * (PIXEL + GAP + 10) - GAP

    def test_colour_images_of_any_size_keep_their_channels(self, rng: np.random.Generator) -> None:
        images = rng.random((2, 3, 3, 12, 20), dtype=np.float32)
        canvas = mosaic(images, gap=4)
        assert canvas.shape == (2 * 16 - 4, 3 * 24 - 4, 3)
        assert np.array_equal(canvas[16:28, 48:68], images[1, 2].transpose(1, 2, 0))


class TestHeadings:
    def test_forgotten_classes_are_struck_out(self) -> None:
        struck = [h for h in headings(CLASSES, {1, 7}) if len(h) > 1]
        assert [h[0] for h in struck] == ["1", "7"]

    def test_the_words_of_a_name_are_struck_out_letter_by_letter(self) -> None:
        (heading,) = headings(["Ankle boot"], {0})
        assert len(heading) == 2 * len("Ankle boot") - 1


LETTERS = tuple(f"{chr(ord('A') + i)} of fonts" for i in range(26))


@pytest.mark.parametrize(
    ("shape", "classes"), [((3, 16, 16), LETTERS), ((1, 32, 24), CLOTHES)], ids=["26 in colour", "clothes"]
)
def test_any_classes_and_images_are_drawn(
    shape: tuple[int, int, int],
    classes: tuple[str, ...],
    rng: np.random.Generator,
    render: Callable[[Figure], Floats],
) -> None:
    images = rng.random((2, len(classes), *shape), dtype=np.float32)
    answers = Answers(np.tile(np.arange(len(classes)), (2, 1)), np.full((2, len(classes)), 0.876))
    assert len(np.unique(render(sample_grid(images, title="", classes=classes, forgotten={1})))) > 50
    figure = attack_strips(images, answers, title="", classes=classes, target=1, rows=["0", "1"])
    render(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].texts[: len(classes)]]
    assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(boxes)), "answers overlap"


class TestSampleGrid:
    def test_it_shows_the_pixels_that_it_is_given(self, images: Floats) -> None:
        (picture,) = sample_grid(images, title="Samples", classes=CLASSES).axes[0].get_images()
        assert np.array_equal(picture.get_array()[:PIXEL, :PIXEL], images[0, 0, 0])

    def test_black_is_zero_and_white_is_one_for_any_images(self, images: Floats) -> None:
        (picture,) = sample_grid(0.1 * images, title="Samples", classes=CLASSES).axes[0].get_images()
        assert picture.get_clim() == (0, 1)

    def test_only_forgotten_headings_have_the_accent_colour(self, images: Floats) -> None:
        axes = sample_grid(images, title="Samples", classes=CLASSES, forgotten={1, 7}).axes[0]
        marked = [c for c, colour in enumerate(heading_colours(axes)) if colour == LIGHT.accent]
        assert marked == [1, 7]


class TestBeforeAfter:
    def test_before_comes_first(self, images: Floats) -> None:
        first = before_after(images, np.zeros_like(images), title="", classes=CLASSES).axes[0]
        assert float(np.nanmax(first.get_images()[0].get_array())) > 0.5

    def test_the_class_is_marked_in_both(self, images: Floats) -> None:
        figure = before_after(images, images, title="", classes=CLASSES, forgotten={1})
        marked = [
            [c for c, h in enumerate(heading_colours(axes)) if h == LIGHT.accent] for axes in figure.axes
        ]
        assert marked == [[1], [1]]


class TestSequence:
    def test_each_block_strikes_out_the_classes_forgotten_by_then(
        self, images: Floats, render: Callable[[Figure], Floats]
    ) -> None:
        figure = sequential_columns(
            np.stack([images] * 3),
            title="",
            classes=CLASSES,
            steps=["base", "0", "1"],
            forgotten=[(), (0,), (0, 1)],
        )
        marked = [
            [c for c, colour in enumerate(heading_colours(axes)) if colour == LIGHT.accent]
            for axes in figure.axes
        ]
        assert marked == [[], [0], [0, 1]]
        assert len(np.unique(render(figure))) > 50

    def test_a_block_without_its_classes_is_refused(self, images: Floats) -> None:
        with pytest.raises(ValueError, match="zip"):
            sequential_columns(
                np.stack([images] * 2), title="", classes=CLASSES, steps=["base", "0"], forgotten=[()]
            )
