"""A method in one file: the label's weights in the decoder shrink towards the mean of all labels'."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, MethodSettings, Request
from sa_mlops.parameters import number

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE


@dataclass(frozen=True, kw_only=True)
class MuteSettings(MethodSettings):
    """Options, which are the settings too."""

    share: float = number("share of the way to the mean", 1.0, low=0, high=1)


def run(request: Request) -> CVAE:
    """The start with other weights for the forgotten labels."""
    model = copy.deepcopy(request.start)
    (weights,) = model.label_weights(model.decoder)
    weights[:, list(request.settings.forget)] += request.settings.share * (
        weights.mean(dim=1, keepdim=True) - weights[:, list(request.settings.forget)]
    )
    request.report(1, {"moved": weights.norm()})
    return model


METHOD = Method(
    name="mute",
    help="shrink the label's weights towards the mean of all labels'",
    config=MuteSettings,
    target="another class",
    run=run,
)
