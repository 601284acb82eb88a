"""Data sets: one module each, with `SPEC` and `load(device)`; a module's name is the data set's, `_` for `-`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

_PARTS = ("idx", "pictures", "pin", "spec")
"""Modules of this package that are no data set."""


def known() -> tuple[str, ...]:
    """Names of all data sets, in alphabetical order."""
    return _names(tuple(__path__))


def spec(name: str) -> DataSpec:
    """The specification of a data set; reads no images and imports no torch.

    Raises
    ------
    ValueError : if there is no such data set.
    """
    found: DataSpec = _module(name).SPEC
    return found


def load(name: str, device: torch.device) -> Dataset:
    """All images of a data set, for a device; bytes where they have 256 levels, 55 MB for MNIST.

    Raises
    ------
    ValueError : if there is no such data set.
    DataError : if its pinned files are missing or altered.
    """
    loaded: Dataset = _module(name).load(device)
    return loaded


@lru_cache
def _names(path: tuple[str, ...]) -> tuple[str, ...]:
    found = (m.name for m in pkgutil.iter_modules(path) if m.name not in _PARTS)
    return tuple(sorted(name.replace("_", "-") for name in found))


def _module(name: str) -> ModuleType:
    if name not in known():
        raise ValueError(f"no data set {name[:40]!r}; there are {', '.join(known())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


__all__ = ["DataSpec", "Dataset", "known", "load", "spec"]
