"""Random labels: the class is taught the images of other labels (after Golatkar et al., 2020, arXiv:1911.04933).

Minimises, with BCE the cross-entropy of the pixels and D* the frozen start,

    E BCE(D(z, c_f), D*(z, c')) + retain_weight E BCE(D(z, c_r), D*(z, c_r)),

where c' is uniform over the retained labels. As c' is drawn anew for every z, the minimum at c_f is the mean of the
retained labels' images at z.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Request
from sa_mlops.methods.replay import WeightedSettings

if TYPE_CHECKING:
    from torch import Tensor

    from sa_mlops.models.interface import CVAE


def forget_term(request: Request, model: CVAE) -> Tensor:
    """The term of the class; `salun` takes its gradient."""
    import torch

    from sa_mlops.methods.replay.training import labels, latents, towards

    z = latents(request)
    with torch.no_grad():
        images = request.start.sample(z, labels(request, request.retained))
    return towards(model, z, labels(request, request.settings.forget), images)


def loss(request: Request) -> Callable[[CVAE], Mapping[str, Tensor]]:
    """The two terms of a model."""
    from sa_mlops.methods.replay.training import replay

    return lambda model: {"forget": forget_term(request, model), "retain": replay(request, model)}


def run(request: Request) -> CVAE:
    """The start after training on random labels."""
    from sa_mlops.methods.replay.training import train

    return train(request, loss(request))


METHOD = Method(
    name="random-label",
    help="train the class towards the images of random retained labels, and replay those",
    config=WeightedSettings,
    target="another class",
    run=run,
)
