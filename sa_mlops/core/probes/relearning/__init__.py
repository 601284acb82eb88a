"""Few-shot relearning (level A5): training on a few real images of the class, at several learning rates.

`CASES` lists the rows; each trains a part of the weights, one file each, and is run by `interface.sweep`.
"""

from __future__ import annotations

from types import MappingProxyType

from sa_mlops.core.probes.relearning.interface import (
    SAMPLES,
    RelearnBudget,
    Relearning,
    relearn,
    sweep,
    sweep_steps,
)
from sa_mlops.core.probes.relearning.last_layer import last_layer
from sa_mlops.core.probes.relearning.low_rank import low_rank

__all__ = [
    "CASES",
    "SAMPLES",
    "RelearnBudget",
    "Relearning",
    "last_layer",
    "low_rank",
    "relearn",
    "sweep",
    "sweep_steps",
]

CASES: MappingProxyType[str, RelearnBudget] = MappingProxyType(
    {
        "10": RelearnBudget(images=10),
        "10.neighbour": RelearnBudget(images=10, label="neighbour"),
        "100": RelearnBudget(images=100),
        "100.neighbour": RelearnBudget(images=100, label="neighbour"),
        "1.neighbour": RelearnBudget(images=1, label="neighbour", steps=500),
        "10.mixture": RelearnBudget(images=10, label="mixture", steps=500),
        "10.neighbour.last": RelearnBudget(
            images=10, label="neighbour", part=last_layer, words="the last layer alone", steps=500, lr=1e-3
        ),
        "10.neighbour.lora": RelearnBudget(
            images=10, label="neighbour", part=low_rank, words="factors of rank 4", steps=500, lr=1e-3
        ),
    }
)
"""Name -> case; the name in metrics (`relearn.NAME.accepted`)."""
