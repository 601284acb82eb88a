"""Data sets: one module each, with `SPEC` and `load(device)`; a module's name is the data set's, `_` for `-`.

Those that a user has imported are beside them (`imported`).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from typing import TYPE_CHECKING

from sa_mlops.datasets.spec import Dataset, DataSpec

if TYPE_CHECKING:
    import torch

_PARTS = ("idx", "imported", "pictures", "pin", "sources", "spec")
"""Modules of this package that are no data set."""


def bundled() -> tuple[str, ...]:
    """Names of the data sets that are part of the program, in alphabetical order."""
    return _names(tuple(__path__))


def known() -> tuple[str, ...]:
    """Names of all data sets, in alphabetical order."""
    from sa_mlops.datasets import imported

    return tuple(sorted({*bundled(), *imported.known()}))


def spec(name: str) -> DataSpec:
    """The specification of a data set; reads no images and imports no torch.

    Raises ValueError if there is no such data set; DataError if its pin cannot be read.
    """
    if _is_bundled(name):
        found: DataSpec = importlib.import_module(_module(name)).SPEC
        return found
    from sa_mlops.datasets import imported

    return imported.spec(name)


def load(name: str, device: torch.device) -> Dataset:
    """All images of a data set, for a device; bytes where they have 256 levels, 55 MB for MNIST.

    Raises ValueError if there is no such data set; DataError if its files are missing or altered.
    """
    if _is_bundled(name):
        loaded: Dataset = importlib.import_module(_module(name)).load(device)
        return loaded
    from sa_mlops.datasets import imported

    return imported.load(name, device)


@lru_cache
def _names(path: tuple[str, ...]) -> tuple[str, ...]:
    found = (m.name for m in pkgutil.iter_modules(path) if m.name not in _PARTS)
    return tuple(sorted(name.replace("_", "-") for name in found))


def _is_bundled(name: str) -> bool:
    """Whether a data set is part of the program. Raises ValueError if there is none of this name."""
    if name in bundled():
        return True
    if name not in known():
        raise ValueError(f"no data set {name[:40]!r}; there are {', '.join(known())}")
    return False


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"


__all__ = ["DataSpec", "Dataset", "bundled", "known", "load", "spec"]
