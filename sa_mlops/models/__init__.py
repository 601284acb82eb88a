"""Nets, tensors in and tensors out: one module each for a generator net, with `NET`, a subclass of `interface.CVAE`.

Nothing here imports torch before a net is made.
"""

from __future__ import annotations

import pkgutil

from sa_mlops.datasets.spec import DataSpec

_PARTS = ("classifiers", "interface")
"""Modules of this package that are no generator net."""


def nets() -> tuple[str, ...]:
    """Names of all generator nets, in alphabetical order: those of their modules."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _PARTS))


def default_net(spec: DataSpec) -> str:
    """The net that `auto` means for a data set: the paper's up to 1 x 28 x 28, above that and for colour `conv`."""
    channels, height, width = spec.shape
    return "mlp" if channels == 1 and max(height, width) <= 28 else "conv"
