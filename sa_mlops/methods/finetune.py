"""Fine-tuning on the retained data alone, the baseline that counts on catastrophic forgetting.

Minimises the negative ELBO L on real images of the retained classes, E L(x_r, c_r); the baseline "fine-tune" of SCRUB
(Kurmanji et al., NeurIPS 2023, arXiv:2302.09880).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Needs, Request
from sa_mlops.methods.replay import TrainingSettings

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE


def run(request: Request) -> CVAE:
    """The start after further training on the retained classes."""
    from sa_mlops.methods.replay.training import RealImages, train

    retained = RealImages(request, request.retained)
    return train(request, lambda model: {"retain": retained.loss(model).mean()})


METHOD = Method(
    name="finetune",
    help="continue the training on real images of the retained classes alone",
    config=TrainingSettings,
    target="as retrained",
    needs=Needs(data=True),
    run=run,
)
