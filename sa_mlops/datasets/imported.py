"""Data sets that `sa-mlops data add` has imported: `datasets/NAME/`, pinned as `datasets/NAME.dvc`.

The folder holds `images.safetensors` (uint8 images and labels of both splits) and `manifest.json`. The specification is
also in the `.dvc` file, so that a clone knows it before the images are pulled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_mlops.datasets.pin import DataError, ensure, project_root, read_pin
from sa_mlops.datasets.spec import ByteImages, Dataset, DataSpec

if TYPE_CHECKING:
    import torch

FOLDER = "datasets"
IMAGES = "images.safetensors"
MANIFEST = "manifest.json"


def file_of(name: str) -> str:
    """The pin of a data set, relative to the checkout."""
    return f"{FOLDER}/{name}.dvc"


def known() -> tuple[str, ...]:
    """Names of the pinned data sets of this checkout; empty outside one."""
    try:
        return tuple(sorted(path.stem for path in (project_root() / FOLDER).glob("*.dvc")))
    except (DataError, OSError):
        return ()


def spec(name: str) -> DataSpec:
    """The specification, from the pin alone. Raises DataError if the pin cannot be read."""
    pin = read_pin(project_root(), file_of(name))
    return _spec(name, pin.meta, pin.file)


def manifest(root: Path, name: str) -> dict[str, Any]:
    """The record of the import: classes, shape, counts, source, licence. Raises DataError if it cannot be read."""
    path = root / FOLDER / name / MANIFEST
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{FOLDER}/{name}/{MANIFEST} cannot be read ({type(error).__name__})") from None


def load(name: str, device: torch.device) -> Dataset:
    """The images, mapped: rows are read when they are used.

    Raises DataError if the files are missing, altered or no data set.
    """
    from safetensors import SafetensorError, safe_open

    root = project_root()
    pin, _ = ensure(root, file_of(name))
    found = _spec(name, pin.meta, pin.file)
    if _spec(name, manifest(root, name), f"{pin.folder}/{MANIFEST}") != found:
        raise DataError(f"{pin.file} and {pin.folder}/{MANIFEST} describe different data")
    try:
        with safe_open(str(pin.path / IMAGES), framework="pt") as file:
            parts = [file.get_tensor(key) for key in TENSORS]
    except (OSError, SafetensorError) as error:
        raise DataError(f"{pin.folder}/{IMAGES} cannot be read: {error}") from None
    for images, labels in (parts[:2], parts[2:]):
        fits = images.shape == (len(labels), *found.shape) and len(labels) and int(labels.max()) < found.count
        if not fits:
            raise DataError(f"{pin.folder}/{IMAGES} does not hold the images of {pin.file}")
    train_x, train_y, test_x, test_y = parts
    return Dataset(
        found,
        pin.md5,
        ByteImages(train_x, device),
        train_y.long().to(device),
        ByteImages(test_x, device),
        test_y.long().to(device),
    )


TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def _spec(name: str, entries: Mapping[str, Any], where: str) -> DataSpec:
    try:
        channels, height, width = map(int, entries["shape"])
        return DataSpec(name, tuple(map(str, entries["classes"])), (channels, height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} describes no data set ({type(error).__name__}: {error})") from None
