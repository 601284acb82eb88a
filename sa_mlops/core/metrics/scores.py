"""A judge's scores of generated images of an intended class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SampleScores:
    """Per-sample values, (n,) each, on the device of the log-probabilities.

    Attributes
    ----------
    labels : intended classes, int64.
    probability : judge's probability of the intended class, [0, 1].
    entropy : entropy of the judge's answer, nats, [0, ln K].
    correct : whether the judge's first choice is the intended class, bool.
    """

    labels: Tensor
    probability: Tensor
    entropy: Tensor
    correct: Tensor


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Means over the samples of one intended class: probability [0, 1], entropy (nats), accuracy [0, 1]."""

    label: int
    samples: int
    probability: float
    entropy: float
    accuracy: float


def sample_scores(log_probs: Tensor, labels: Tensor) -> SampleScores:
    """Score each sample against its intended class.

    Raises ValueError if the shapes do not fit together.

    Parameters
    ----------
    log_probs : (n, classes) natural-log probabilities, rows summing to one; -inf is allowed.
    labels : (n,) int64, intended classes.
    """
    if log_probs.dim() != 2 or labels.shape != log_probs.shape[:1]:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)} and labels {tuple(labels.shape)} do not fit together"
        )
    probs = log_probs.exp()
    return SampleScores(
        labels=labels,
        probability=probs.gather(1, labels[:, None]).squeeze(1),
        entropy=torch.special.entr(probs).sum(dim=1),
        correct=log_probs.argmax(dim=1) == labels,
    )


def class_scores(log_probs: Tensor, labels: Tensor) -> tuple[ClassScores, ...]:
    """Means of each intended class that occurs, in ascending order; arguments as in `sample_scores`."""
    scores = sample_scores(log_probs, labels)
    result = []
    for label in torch.bincount(labels).nonzero().flatten().tolist():
        rows = labels == label
        result.append(
            ClassScores(
                label=label,
                samples=int(rows.sum()),
                probability=float(scores.probability[rows].double().mean()),
                entropy=float(scores.entropy[rows].double().mean()),
                accuracy=float(scores.correct[rows].double().mean()),
            )
        )
    return tuple(result)


def pixel_variance(images: Tensor) -> Tensor:
    """Variance over the pixels of each image: (n, C, H, W) in [0, 1] -> (n,) in [0, 0.25].

    The population variance (divided by the number of pixels). Its mean over samples is
    `forget.pixel_variance`: about 0.09 for MNIST, 0 for flat grey.
    """
    return images.flatten(1).var(dim=1, correction=0)
