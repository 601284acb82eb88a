"""Attacks on weights: edits of the decoder, each followed by direct sampling and a short search.

`EDITS` lists them; `interface.tamper` runs one. An edit without data is level A3, one that trains on retained images
A4, one that uses the base A6. Relearning from images of the class (A5) is `core.probes.relearning`.
"""

from __future__ import annotations

from types import MappingProxyType

from sa_mlops.core.probes.weights.activations import activation
from sa_mlops.core.probes.weights.columns import label_column
from sa_mlops.core.probes.weights.finetuning import finetune
from sa_mlops.core.probes.weights.interface import Edit
from sa_mlops.core.probes.weights.line import line
from sa_mlops.core.probes.weights.noise import noise
from sa_mlops.core.probes.weights.precision import bfloat16, int4, int8
from sa_mlops.core.probes.weights.pruning import prune
from sa_mlops.core.probes.weights.scaling import scale
from sa_mlops.core.probes.weights.units import ablate, dead_units

EDITS: MappingProxyType[str, Edit] = MappingProxyType(
    {
        "int8": Edit("A3", int8),
        "int4": Edit("A3", int4),
        "bfloat16": Edit("A3", bfloat16),
        "prune": Edit("A3", prune),
        "noise": Edit("A3", noise),
        "scale": Edit("A3", scale),
        "activation": Edit("A3", activation),
        "dead_units": Edit("A3", dead_units),
        "label_column": Edit("A3", label_column),
        "ablate": Edit("A3", ablate),
        "finetune": Edit("A4", finetune),
        "line": Edit("A6", line),
    }
)
"""Name -> edit; the name in metrics (`tamper.NAME.success`) and tables."""
