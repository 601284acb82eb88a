"""Feature probing: whether the class can still be read from the decoder's hidden layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Scene
from sa_mlops.models.interface import one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBudget:
    """Size of a ridge regression on real images of the class and as many of other classes.

    Attributes
    ----------
    images : real images of the class; half of them train, half test.
    ridge : penalty relative to the mean variance of a feature.
    """

    images: int = 800
    ridge: float = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReading:
    """A linear reading of one layer.

    Attributes
    ----------
    layer : index of the hidden layer, from the latent on.
    width : number of its units.
    accuracy : of the class against all others on unseen images; 0.5 is chance.
    area : area under the ROC curve on unseen images.
    active : share of units that are above zero for some image of the class.
    """

    layer: int
    width: int
    accuracy: float
    area: float
    active: float


@torch.no_grad()
def probe_features(
    scene: Scene, budget: FeatureBudget, generator: torch.Generator
) -> tuple[LayerReading, ...]:
    """Read the class from each hidden layer of the decoder with a linear classifier.

    Latents come from the generator's own encoder, under the image's own label. The decoder receives one condition for
    all images, uniform over the classes, so that the label itself cannot be read.

    Raises ValueError if a class has no images.
    """
    per_side = budget.images
    others = [c for c in range(scene.model.classes) if c != scene.target and bool((scene.labels == c).any())]
    if not others:
        raise ValueError("no real image of any other class")
    chosen = torch.tensor(others, device=generator.device)
    drawn = chosen[torch.randint(len(others), (per_side,), generator=generator, device=generator.device)]
    images = [scene.real(scene.target, per_side, generator)]
    labels = [torch.full((per_side,), scene.target, device=generator.device)]
    for other in others:
        count = int((drawn == other).sum())
        images.append(scene.real(other, count, generator))
        labels.append(torch.full((count,), other, device=generator.device))
    label = torch.cat(labels)
    z, _ = scene.model.encode(torch.cat(images), one_hot(label, scene.model.classes))
    positive = label == scene.target
    order = torch.randperm(len(z), generator=generator, device=generator.device)
    z, positive = z[order], positive[order]

    readings = []
    even = torch.full((len(z), scene.model.classes), 1 / scene.model.classes, device=z.device)
    for i, hidden in enumerate(scene.model.hidden(z, even)):
        half = len(hidden) // 2
        scores = ridge_scores(hidden[:half], positive[:half], hidden[half:], budget.ridge)
        truth = positive[half:]
        readings.append(
            LayerReading(
                layer=i,
                width=hidden.shape[1],
                accuracy=float(((scores > 0) == truth).double().mean()),
                area=area_under_curve(scores, truth),
                active=float((hidden[positive] > 0).any(dim=0).double().mean()),
            )
        )
    return tuple(readings)


def ridge_scores(features: Tensor, positive: Tensor, unseen: Tensor, ridge: float) -> Tensor:
    """Scores (m,) of unseen (m, d) from a ridge regression of +-1 on features (n, d)."""
    mean, spread = features.mean(dim=0), features.std(dim=0) + 1e-6
    x, y = ((features - mean) / spread).double(), positive.double() * 2 - 1
    # (X^T X + r I)^-1 X^T = X^T (X X^T + r I)^-1: the smaller of the two systems is solved.
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    gram.diagonal().add_(ridge * len(x))
    centred = y - y.mean()
    weights = x.T @ torch.linalg.solve(gram, centred) if wide else torch.linalg.solve(gram, x.T @ centred)
    scores: Tensor = ((unseen - mean) / spread).double() @ weights + y.mean()
    return scores


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Probability that a positive (of (m,) bool) scores above a negative; ties count half (Mann and Whitney)."""
    above, below = scores[positive][:, None], scores[~positive][None, :]
    return float(((above > below).double() + 0.5 * (above == below).double()).mean())
