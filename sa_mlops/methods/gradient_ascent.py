"""Gradient ascent on the class with descent on the others: NegGrad+ (Kurmanji et al., 2023, arXiv:2302.09880).

Minimises, with L the negative ELBO of real images,

    - E min(L(x_f, c_f), ceiling) + retain_weight E L(x_r, c_r).

The ceiling keeps the ascent, which has no maximum, from ruining everything: an image whose loss has reached it pushes
no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sa_mlops.methods.interface import Method, Needs, Request
from sa_mlops.methods.replay import WeightedSettings
from sa_mlops.parameters import number

if TYPE_CHECKING:
    from torch import Tensor

    from sa_mlops.models.interface import CVAE


@dataclass(frozen=True, kw_only=True)
class AscentSettings(WeightedSettings):
    """Options, which are the settings too."""

    RETAIN_WEIGHT: ClassVar[float] = 3.0

    ceiling: float = number(
        "loss of an image of the class above which it is not raised further, nats per pixel and channel", 1.0,
        above=0, high=1_000, search=(0.3, 10),
    )  # fmt: skip


def run(request: Request) -> CVAE:
    """The start after ascent on the class and descent on the retained ones."""
    from sa_mlops.methods.replay.training import RealImages, train

    s = request.settings
    forgotten, retained = RealImages(request, s.forget), RealImages(request, request.retained)
    ceiling = s.ceiling * request.start.spec.pixels

    def loss(model: CVAE) -> dict[str, Tensor]:
        return {
            "forget": -forgotten.loss(model).clamp(max=ceiling).mean(),
            "retain": s.retain_weight * retained.loss(model).mean(),
        }

    return train(request, loss)


METHOD = Method(
    name="gradient-ascent",
    help="raise the loss of real images of the class, and lower that of the retained ones",
    config=AscentSettings,
    target="as retrained",
    needs=Needs(data=True),
    run=run,
)
