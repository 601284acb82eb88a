"""Redaction: the label's weights become those of retained labels (after Kong and Chaudhuri, 2023, arXiv:2305.11351).

Without training, in each layer that the condition enters, w[:, c_f] <- w[:, c_nearest], or the mean of w[:, c_r] over
the retained labels. A one-hot condition of another label multiplies these weights by 0, so that all that the other
labels draw stays equal bit for bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, MethodSettings, Request
from sa_mlops.parameters import choice

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE

REPLACEMENTS = ("nearest", "mean")


@dataclass(frozen=True, kw_only=True)
class RedactionSettings(MethodSettings):
    """Options, which are the settings too."""

    replacement: str = choice(
        "weights that replace the label's: those of the nearest retained label, or the mean of all retained ones",
        REPLACEMENTS, "nearest", search=REPLACEMENTS,
    )  # fmt: skip


def run(request: Request) -> CVAE:
    """The start with other weights for the labels to forget."""
    import torch

    from sa_mlops.methods.replay.training import nearest

    model = copy.deepcopy(request.start)
    near = nearest(request) if request.settings.replacement == "nearest" else {}
    with torch.no_grad():
        for weights in model.label_weights():
            for label in request.settings.forget:
                sources = [near[label]] if near else list(request.retained)
                weights[:, label] = weights[:, sources].mean(dim=1)
    request.report(1, {})
    return model


METHOD = Method(
    name="redaction",
    help="replace the label's weights by those of retained labels; no training",
    config=RedactionSettings,
    target="another class",
    run=run,
)
