"""EraseDiff (Wu et al., 2024, arXiv:2401.05779) on a conditional VAE: noise for the class, real data for the others.

Minimises, with L the negative ELBO of real images of the retained classes and BCE the cross-entropy of the pixels,

    E BCE(D(z, c_f), u) + retain_weight E L(x_r, c_r),    u ~ U[0, 1] for every pixel, z ~ N(0, I).

EraseDiff keeps the first term at the value of its inner solution by a constraint, whose relaxation adds it with a
weight; the inner value is a constant in the gradient, which is that of this sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Needs, Request
from sa_mlops.methods.replay import WeightedSettings

if TYPE_CHECKING:
    from torch import Tensor

    from sa_mlops.models.interface import CVAE


def run(request: Request) -> CVAE:
    """The start after training the class to be noise."""
    import torch

    from sa_mlops.methods.replay.training import RealImages, labels, latents, towards, train

    s, generator = request.settings, request.generator
    retained = RealImages(request, request.retained)

    def loss(model: CVAE) -> dict[str, Tensor]:
        z, classes = latents(request), labels(request, s.forget)
        images = torch.rand(len(z), *model.shape, generator=generator, device=generator.device)
        return {
            "forget": towards(model, z, classes, images),
            "retain": s.retain_weight * retained.loss(model).mean(),
        }

    return train(request, loss)


METHOD = Method(
    name="erasediff",
    help="train the class to be noise, and the retained ones on real images; no Fisher penalty",
    config=WeightedSettings,
    target="noise",
    needs=Needs(data=True),
    run=run,
)
