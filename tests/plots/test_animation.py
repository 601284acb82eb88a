"""Sample grids over steps as a GIF."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageSequence

from sa_mlops.plots.animation import HOLD, SCALE, SHADES, animated_grid, tiles
from sa_mlops.plots.grids import mosaic, pixels
from sa_mlops.plots.style import DARK, LIGHT, Floats, Theme

animate = partial(animated_grid, classes=tuple("0123456789"))
CAPTIONS = ["step 0", "step 10", "step 20"]


@pytest.fixture
def frames(rng: np.random.Generator) -> list[Floats]:
    return [rng.random((2, 10, 1, 28, 28), dtype=np.float32) for _ in CAPTIONS]


def opened(gif: bytes) -> Image.Image:
    return Image.open(io.BytesIO(gif))


def shades_of(gif: bytes) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(opened(gif))]


def test_equal_arguments_give_equal_bytes(frames: list[Floats]) -> None:
    assert animate(frames, CAPTIONS) == animate(frames, CAPTIONS)


def test_there_is_a_frame_a_grid(frames: list[Floats]) -> None:
    assert getattr(opened(animate(frames, CAPTIONS)), "n_frames", 1) == 3


def test_it_repeats_for_ever(frames: list[Floats]) -> None:
    assert opened(animate(frames, CAPTIONS)).info["loop"] == 0


def test_the_last_frame_stays_longer(frames: list[Floats]) -> None:
    gif = opened(animate(frames, CAPTIONS, milliseconds=100))
    durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert durations == [100, 100, HOLD]


def test_pixels_are_enlarged_and_rounded_to_the_nearest_shade(frames: list[Floats]) -> None:
    last = shades_of(animate(frames, CAPTIONS))[-1]
    # Below two lines of text and margins; the first image's first pixels.
    top, left = SCALE * 2 * (7 + 4), SCALE * 4
    rounded = np.round(frames[-1][0, 0, 0] * (SHADES - 1)) / (SHADES - 1)
    expected = np.round(255 * rounded).astype(np.uint8)
    assert np.array_equal(last[top : top + 28 * SCALE : SCALE, left : left + 28 * SCALE : SCALE], expected)


def test_captions_are_drawn(frames: list[Floats]) -> None:
    a, b = (shades_of(animate(frames[:1], [text]))[0] for text in ("step 1", "step 2"))
    assert not np.array_equal(a, b)


def test_a_forgotten_class_is_struck_out(frames: list[Floats]) -> None:
    a, b = (shades_of(animate(frames[:1], ["x"], forgotten=gone))[0] for gone in ((), (1,)))
    assert not np.array_equal(a, b)


def test_the_grid_does_not_depend_on_the_forgotten_classes(frames: list[Floats]) -> None:
    a, b = (shades_of(animate(frames[:1], ["x"], forgotten=gone))[0] for gone in ((), (1,)))
    head = 2 * 2 * (7 + 4)
    assert np.array_equal(a[head:], b[head:])


@pytest.mark.parametrize(("theme", "paper"), [(LIGHT, 255), (DARK, 17)], ids=["light", "dark"])
def test_the_paper_is_the_theme_s(frames: list[Floats], theme: Theme, paper: int) -> None:
    corner = int(shades_of(animate(frames, CAPTIONS, theme=theme))[0][-1, 0])
    assert corner == pytest.approx(paper, abs=3)


def test_values_outside_the_range_are_clipped() -> None:
    grid = np.full((1, 10, 1, 28, 28), 7.0, dtype=np.float32)
    assert shades_of(animate([grid], ["x"]))[0][60, 20] == 255


@pytest.mark.parametrize(("count", "captions"), [(0, []), (2, ["a"]), (1, ["a", "b"])])
def test_frames_and_captions_that_do_not_fit_are_refused(
    frames: list[Floats], count: int, captions: list[str]
) -> None:
    with pytest.raises(ValueError, match=f"{count} frames and {len(captions)} captions"):
        animate(frames[:count], captions)


def test_equal_frames_are_all_kept() -> None:
    grid = np.zeros((1, 10, 1, 28, 28), dtype=np.float32)
    gif = opened(animate([grid, grid, grid], ["same"] * 3, milliseconds=100))
    assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif)) == 200 + HOLD


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20)], ids=["grey", "colour"])
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_gives_back_the_images_of_a_saved_mosaic(
    rng: np.random.Generator, scale: int, shape: tuple[int, int, int]
) -> None:
    images = np.round(255 * rng.random((3, 10, *shape))) / 255
    saved = pixels(mosaic(images)).repeat(scale, 0).repeat(scale, 1)
    np.testing.assert_allclose(tiles(saved, scale, shape), images, atol=1e-6)


@pytest.mark.parametrize("shape", [(28, 57), (0, 0), (28,), (28, 28, 3)])
def test_a_canvas_of_another_size_holds_no_tiles(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not a grid"):
        tiles(np.zeros(shape, dtype=np.uint8), 1, (1, 28, 28))


def test_colours_are_kept_and_long_names_get_their_room(rng: np.random.Generator) -> None:
    grid = np.zeros((1, 3, 3, 12, 12), dtype=np.float32)
    grid[:, 1, 0] = 1
    short, long = (
        opened(animated_grid([grid], ["x"], classes=names)).convert("RGB")
        for names in (("a", "b", "c"), ("a", "b", "Ankle boot"))
    )
    assert (255, 0, 0) in {colour for _, colour in long.getcolors(1 << 20) or []}
    assert long.width == short.width
    assert long.height > short.height
