"""IDX files, the format of MNIST: big-endian, a magic number, the sizes, then bytes; plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sa_mlops.datasets.spec import ByteImages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The four files of MNIST and of its successors."""


class IdxError(ValueError):
    """A file is no IDX file of bytes, or is cut off. The message is one line that names the file."""


def is_idx(path: Path) -> bool:
    """Whether a file begins like an IDX file of bytes, unpacked if its name ends in `.gz`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:3] == b"\0\0\x08" and 1 <= head[3] <= 4


def read(path: Path, md5: str | None = None) -> NDArray[np.uint8]:
    """The array of a file.

    Raises IdxError if it cannot be read, or is not this file.

    Parameters
    ----------
    md5 : expected hash of the unpacked file.
    """
    try:
        packed = path.suffix == ".gz"
        raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise IdxError(f"{path}: {' '.join(str(error).split()) or 'cannot be read'}") from None
    if md5 is not None and (found := hashlib.md5(raw, usedforsecurity=False).hexdigest()) != md5:
        raise IdxError(f"{path}: altered (expected md5 {md5} unpacked, found {found})")
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4 or len(raw) < 4 + 4 * raw[3]:
        raise IdxError(f"{path}: no IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int(side) for side in np.frombuffer(raw[4:start], ">u4"))
    if len(raw) - start != math.prod(shape):
        raise IdxError(f"{path}: {len(raw) - start:,} bytes of data; its header says {math.prod(shape):,}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def split(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], device: torch.device
) -> tuple[ByteImages, Tensor]:
    """Grey images (n, H, W) and labels (n,) as parts of a data set."""
    import torch

    return ByteImages(torch.from_numpy(images)[:, None], device), torch.from_numpy(
        labels.astype(np.int64)
    ).to(device)
