"""The description of a labelled image data set, free of torch, and the data set itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIDE_RANGE = (4, 1024)
MAX_CLASSES = 1_000
MAX_NAME = 80


def metric_word(name: str) -> str:
    """A class name as part of a metric name: each character that MLflow refuses, and the dot, becomes `_`."""
    return re.sub(r"[^\w\- ]", "_", name)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Name, classes and image shape of a data set. Inside the code a class is its index, 0 to K - 1.

    Attributes
    ----------
    name : word after `--dataset`.
    classes : K names in the order of their labels; without commas, unique ignoring case.
    shape : (C, H, W): 1 or 3 channels, 4 to 1,024 pixels a side.

    Raises
    ------
    ValueError : one line that names the class or the shape.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        channels, *sides = self.shape
        low, high = SIDE_RANGE
        if channels not in (1, 3) or len(sides) != 2 or not all(low <= side <= high for side in sides):
            raise ValueError(f"shape {self.shape} is not 1 or 3 channels of {low} to {high} pixels a side")
        if not 2 <= len(self.classes) <= MAX_CLASSES:
            raise ValueError(f"{len(self.classes)} classes; a data set has 2 to {MAX_CLASSES}")
        for name in self.classes:
            if not 0 < len(name) <= MAX_NAME or name != name.strip() or "," in name or not name.isprintable():
                raise ValueError(
                    f"class {name[:MAX_NAME]!r} is not 1 to {MAX_NAME} printable characters without a comma"
                )
        for taken, kind in (
            (self.classes, "class names"),
            (tuple(map(metric_word, self.classes)), "metric names"),
        ):
            word, times = Counter(name.casefold() for name in taken).most_common(1)[0]
            if times > 1:
                alike = [c for c, t in zip(self.classes, taken, strict=True) if t.casefold() == word]
                raise ValueError(f"classes {alike[0]!r} and {alike[1]!r} have equal {kind}, ignoring case")

    @property
    def count(self) -> int:
        """Number of classes, K."""
        return len(self.classes)

    @property
    def pixels(self) -> int:
        """Values of one image, C * H * W."""
        return math.prod(self.shape)

    @property
    def chance(self) -> float:
        """Probability of a class under a uniform answer, 1/K."""
        return 1 / self.count

    @property
    def max_entropy(self) -> float:
        """Entropy of a uniform answer, ln K, in nats."""
        return math.log(self.count)

    def indices(self, words: Iterable[str]) -> tuple[int, ...]:
        """Indices of classes given by name (ignoring case) or, where no class has that name, by number.

        Raises ValueError, which names the first word that is not a class.
        """
        return tuple(map(self._index, words))

    def names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of class indices, in the order given."""
        return tuple(self.classes[i] for i in indices)

    def _index(self, word: str) -> int:
        folded = [name.casefold() for name in self.classes]
        wanted = word.strip().casefold()
        if wanted in folded:
            return folded.index(wanted)
        if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < self.count and len(wanted) < 9:
            return int(wanted)
        few = ", ".join(self.classes[:10]) + (", ..." if self.count > 10 else "")
        source = f" of {self.name}" if self.name else ""
        raise ValueError(f"{word[:MAX_NAME]!r} is no class{source} ({few})")


class ByteImages:
    """Images (n, C, H, W) kept as bytes, of which the rows taken out are float32 in [0, 1].

    A quarter of the memory of floats. The bytes may be a mapped file; they lie on `device` unless they fill more than
    a quarter of its free memory.

    Parameters
    ----------
    levels : (n, C, H, W) uint8 on the CPU; 255 is 1.0.
    device : of the rows taken out.
    """

    def __init__(self, levels: Tensor, device: torch.device) -> None:
        self.device = device
        self.levels = levels.to(device) if _fits(levels.nbytes, device) else levels

    @property
    def shape(self) -> torch.Size:
        """(n, C, H, W)."""
        return self.levels.shape

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if not isinstance(rows, slice):
            rows = rows.to(self.levels.device)
        return self.levels[rows].to(self.device) / 255

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


Images: TypeAlias = "Tensor | ByteImages"
"""Images (n, C, H, W) whose rows are float32 in [0, 1]: `images[rows]`, `images.split(size)`, `len(images)`."""


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes belong into a device's own memory."""
    import torch

    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 4


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images (n, C, H, W) and labels (n,) int64 on one device.

    Attributes
    ----------
    md5 : hash that pins the data; written to the tag `sa.data_md5`.
    """

    spec: DataSpec
    md5: str
    train_images: Images
    train_labels: Tensor
    test_images: Images
    test_labels: Tensor

    @property
    def name(self) -> str:
        """The specification's name."""
        return self.spec.name
