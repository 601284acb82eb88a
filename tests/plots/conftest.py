"""What tests of figures share."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from sa_mlops.plots.style import DARK, LIGHT, Theme

Render = Callable[[Figure], NDArray[np.uint8]]


@pytest.fixture
def render() -> Render:
    """Pixels (height, width, 3) of a figure."""

    def pixels(figure: Figure) -> NDArray[np.uint8]:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=50)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return pixels


@pytest.fixture(params=[LIGHT, DARK], ids=lambda theme: theme.name)
def theme(request: pytest.FixtureRequest) -> Theme:
    chosen: Theme = request.param
    return chosen


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def title() -> Callable[[Figure], str]:
    """A figure's title as one line."""

    def read(figure: Figure) -> str:
        return " ".join(figure.get_suptitle().split())

    return read
