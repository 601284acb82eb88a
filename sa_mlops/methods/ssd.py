"""Selective synaptic dampening (SSD; Foster et al., AAAI 2024, arXiv:2308.07707): weights of the class are shrunk.

Without training, with F the Fisher diagonal over all classes and F_f that over the class,

    theta_i <- min(dampening F_i / F_f,i, 1) theta_i    where    F_f,i > selection K F_i.

Both diagonals are over the generator's own samples, so that no real data is needed. F is a mean over the K classes that
the start has not forgotten, so F_f / F is at most K, up to the noise of both estimates, and reaches it where no other
label passes a gradient. That is why the paper's threshold alpha is a share of K here.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, MethodSettings, Needs, Request
from sa_mlops.parameters import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sa_mlops.models.interface import CVAE

SAMPLES = 10_000
"""Samples behind the Fisher diagonal over the class."""


@dataclass(frozen=True, kw_only=True)
class DampeningSettings(MethodSettings):
    """Options, which are the settings too."""

    selection: float = number(
        "weights are dampened where the class makes up more than this share of the Fisher information of all classes",
        0.5, above=0, high=1, search=(0.1, 0.9),
    )  # fmt: skip
    dampening: float = number(
        "a dampened weight is multiplied by this times the ratio of both Fisher values, at most by 1", 0.1, low=0,
        high=1_000, search=(0.01, 1),
    )  # fmt: skip


def dampen(
    model: CVAE, whole: Mapping[str, Tensor], own: Mapping[str, Tensor], threshold: float, dampening: float
) -> None:
    """Shrink the weights of a net in place.

    Parameters
    ----------
    whole, own : parameter name -> Fisher diagonal over all classes, and over those to forget.
    threshold : ratio of both above which a weight is shrunk.
    """
    import torch

    with torch.no_grad():
        for name, weights in model.named_parameters():
            selected = own[name] > threshold * whole[name]
            factor = (dampening * whole[name] / own[name]).clamp(max=1)
            weights.mul_(torch.where(selected, factor, 1))


def run(request: Request) -> CVAE:
    """The start with smaller weights where the class matters most."""
    from sa_mlops.core.fisher import generator_fisher
    from sa_mlops.settings import FisherSettings

    model, s = copy.deepcopy(request.start), request.settings
    own = generator_fisher(model, FisherSettings(samples=SAMPLES, labels=s.forget), request.generator)
    classes = model.classes - len(s.earlier)
    dampen(model, request.inputs.fisher, own, s.selection * classes, s.dampening)
    request.report(1, {})
    return model


METHOD = Method(
    name="ssd",
    help="shrink the weights whose Fisher information is of the class; no training",
    config=DampeningSettings,
    target="as retrained",
    needs=Needs(fisher=True),
    run=run,
)
