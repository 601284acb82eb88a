"""The classes nearest to a class: walks pass through them, and attacks start from them."""

from __future__ import annotations

import torch
from torch import Tensor

from sa_mlops.core.judging import answers, features
from sa_mlops.datasets.spec import Images
from sa_mlops.models.classifiers import Judge


@torch.no_grad()
def neighbours(judge: Judge, images: Images, labels: Tensor, target: int) -> tuple[int, int]:
    """The two other classes nearest to `target`, nearest first; with two classes the other one, twice.

    Classes are ordered by the sum of two ranks on real images: the judge's mean confusion with the target, both ways,
    and the distance between the means of its features. Confusion decides ties.

    Raises ValueError if the target or every other class has no image.

    Parameters
    ----------
    images, labels : real images (m, C, H, W) in [0, 1] that the judge was not trained on, and their classes (m,).
    """
    present = [c for c in range(judge.spec.count) if bool((labels == c).any())]
    others = torch.tensor([c for c in present if c != target], device=labels.device)
    if target not in present or not len(others):
        raise ValueError(f"no real image of class {target} or of any other class")
    probs, embedded = answers(judge, images).exp(), features(judge, images)
    own = labels == target
    means = torch.stack([embedded[labels == c].mean(dim=0) for c in others])
    confusion = (
        torch.stack([probs[labels == c, target].mean() for c in others]) + probs[own].mean(dim=0)[others]
    )
    distance = (means - embedded[own].mean(dim=0)).norm(dim=1)
    by_confusion, by_distance = (-confusion).argsort().argsort(), distance.argsort().argsort()
    order = ((by_confusion + by_distance) * len(others) + by_confusion).argsort()
    nearest = others[order].tolist()
    return nearest[0], nearest[min(1, len(nearest) - 1)]
