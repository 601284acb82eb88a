"""Images that are no digits."""

from __future__ import annotations

import pytest
import torch
from draws import seeded
from torch import Tensor

from sa_mlops.core.outliers import outliers
from sa_mlops.datasets import load

KINDS = ("uniform", "gaussian", "grey", "blurred", "mixed", "shuffled", "noisy")
EACH = 60


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return load("digits", torch.device("cpu")).train_images


@pytest.fixture(scope="module")
def drawn(digits: Tensor) -> dict[str, Tensor]:
    parts = outliers(digits, EACH * len(KINDS), seeded()).split(EACH)
    return dict(zip(KINDS, parts, strict=True))


@pytest.mark.parametrize("count", [1, 6, 7, 8, 100])
def test_there_are_as_many_as_asked_for(digits: Tensor, count: int) -> None:
    assert outliers(digits, count, seeded()).shape == (count, 1, 28, 28)


def test_one_image_is_enough_to_distort(digits: Tensor) -> None:
    assert outliers(digits[:1], 14, seeded()).shape == (14, 1, 28, 28)


@pytest.mark.parametrize("kind", KINDS)
def test_outliers_are_images_and_none_is_a_digit_of_the_pool(
    drawn: dict[str, Tensor], digits: Tensor, kind: str
) -> None:
    assert 0 <= float(drawn[kind].min()) <= float(drawn[kind].max()) <= 1
    assert float(torch.cdist(drawn[kind].flatten(1), digits.flatten(1)).min()) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_repeats_itself(drawn: dict[str, Tensor], kind: str) -> None:
    assert len(drawn[kind].unique(dim=0)) > 0.9 * EACH


def test_the_seed_alone_decides_and_the_pool_is_left_as_it_was(digits: Tensor) -> None:
    pool = digits.clone()
    assert torch.equal(outliers(pool, 70, seeded(1)), outliers(pool, 70, seeded(1)))
    assert torch.equal(pool, digits)


class TestColour:
    @pytest.fixture(scope="class")
    def colour(self, digits: Tensor) -> dict[str, Tensor]:
        kinds = (*KINDS, "colour", "grey_noise", "tinted_noise")
        parts = outliers(digits[:50].repeat(1, 3, 1, 1), 20 * len(kinds), seeded()).split(20)
        return dict(zip(kinds, parts, strict=True))

    def test_flat_colours_differ_between_channels(self, colour: dict[str, Tensor]) -> None:
        assert float(colour["colour"].std(dim=(2, 3)).max()) < 0.06
        assert float(colour["colour"].mean(dim=(2, 3)).std(dim=1).mean()) > 0.1

    def test_grey_noise_has_equal_channels(self, colour: dict[str, Tensor]) -> None:
        red, green, blue = colour["grey_noise"].unbind(dim=1)
        assert torch.equal(red, green)
        assert torch.equal(red, blue)
        assert float(red.std(dim=(1, 2)).min()) > 0.01

    def test_tinted_noise_has_one_hue(self, colour: dict[str, Tensor]) -> None:
        flat = colour["tinted_noise"].flatten(2)
        hues = flat / flat.sum(dim=1, keepdim=True).clamp(min=1e-9)
        assert float(hues.std(dim=2).max()) < 1e-3


class TestKinds:
    def test_half_of_the_uniform_noise_has_the_whole_range(self, drawn: dict[str, Tensor]) -> None:
        spans = drawn["uniform"].amax(dim=(1, 2, 3)) - drawn["uniform"].amin(dim=(1, 2, 3))
        assert float((spans > 0.98).float().mean()) == pytest.approx(0.5, abs=0.2)

    def test_gaussian_noise_comes_at_many_strengths(self, drawn: dict[str, Tensor]) -> None:
        spread = drawn["gaussian"].std(dim=(1, 2, 3))
        assert float(spread.max()) > 3 * float(spread.min())

    def test_grey_is_nearly_flat(self, drawn: dict[str, Tensor]) -> None:
        spans = drawn["grey"].amax(dim=(1, 2, 3)) - drawn["grey"].amin(dim=(1, 2, 3))
        assert float(spans.max()) <= 0.1 + 1e-6

    def test_grey_comes_at_all_levels(self, drawn: dict[str, Tensor]) -> None:
        levels = drawn["grey"].mean(dim=(1, 2, 3))
        assert float(levels.min()) < 0.15
        assert float(levels.max()) > 0.85

    def test_a_blurred_digit_has_no_strokes(self, drawn: dict[str, Tensor]) -> None:
        steps = drawn["blurred"].view(-1, 28, 28).diff(dim=2).abs()
        assert float(steps.max()) < 0.1

    def test_a_shuffled_digit_keeps_its_patches(self, digits: Tensor) -> None:
        pool = digits[:1]
        shuffled = outliers(pool, 7, seeded())[5]
        patches, before = (
            {p.numpy().tobytes() for p in x.reshape(4, 7, 4, 7).permute(0, 2, 1, 3).reshape(16, 49)}
            for x in (shuffled, pool[0])
        )
        assert patches == before

    def test_noise_outweighs_the_digit_it_hides(self, digits: Tensor) -> None:
        pool = torch.ones(1, 1, 28, 28)
        hidden = outliers(pool, 70, seeded())[-10:]
        # share + (1 - share) / 2 with a share of 0.1 to 0.25.
        means = hidden.mean(dim=(1, 2, 3))
        assert 0.53 < float(means.min()) <= float(means.max()) < 0.65
