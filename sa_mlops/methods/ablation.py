"""Concept ablation (Kumari et al., ICCV 2023, arXiv:2303.13516): the class is taught to be its anchor.

Minimises, with D* the frozen start,

    E BCE(D(z, c_f), D*(z, c_anchor)) + retain_weight E BCE(D(z, c_r), D*(z, c_r)),

where the anchor is the retained class whose images are nearest to the class's at equal latents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa_mlops.methods.interface import Method, Request
from sa_mlops.methods.replay import WeightedSettings

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE


def run(request: Request) -> CVAE:
    """The start after training each class towards its anchor."""
    import torch

    from sa_mlops.methods.replay.training import nearest, towards_images

    anchors = torch.arange(request.start.classes, device=request.generator.device)
    for label, anchor in nearest(request).items():
        anchors[label] = anchor
    return towards_images(request, lambda z, classes: request.start.sample(z, anchors[classes]))


METHOD = Method(
    name="ablation",
    help="train the class towards the nearest retained class, and replay the others",
    config=WeightedSettings,
    target="another class",
    run=run,
)
