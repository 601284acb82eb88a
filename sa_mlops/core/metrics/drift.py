"""Distance of a net's parameters from an anchor, weighted by the Fisher diagonal."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def fisher_distance(
    parameters: Mapping[str, Tensor], anchor: Mapping[str, Tensor], fisher: Mapping[str, Tensor]
) -> float:
    """Sum of F (theta - theta0)^2, 0 or more: the EWC penalty without lambda (Kirkpatrick et al., 2017).

    Raises ValueError, naming the first parameter that is missing or has another shape.

    Parameters
    ----------
    parameters, anchor, fisher : name -> tensor, the same names and shapes in each; fisher is not negative.
    """
    total = 0.0
    for name in sorted(parameters.keys() | anchor.keys() | fisher.keys()):
        shapes = {tensors[name].shape for tensors in (parameters, anchor, fisher) if name in tensors}
        if len(shapes) != 1 or not all(name in tensors for tensors in (parameters, anchor, fisher)):
            raise ValueError(f"{name} is missing or has another shape in parameters, anchor or fisher")
        moved = (parameters[name].detach() - anchor[name].detach()).square()
        # Summed in float64 on the CPU: a million small terms, and MPS has no float64.
        total += float((fisher[name] * moved).cpu().sum(dtype=torch.float64))
    return total
