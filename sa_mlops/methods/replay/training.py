"""One loop for all methods that train: each hands it a loss of a model and takes samples and terms from here.

Samples come from the frozen start, D*, at z ~ N(0, I). Labels that are not to be forgotten in this step are retained or
were forgotten earlier; replay keeps both as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sa_mlops.core.elbo import negative_elbo, pixel_cross_entropy
from sa_mlops.core.training import Watch, make_optimiser
from sa_mlops.methods.interface import Request
from sa_mlops.methods.selective_amnesia.training import draw
from sa_mlops.models.interface import CVAE, one_hot

Loss = Callable[[CVAE], Mapping[str, Tensor]]
"""Loss terms by name, scalars, of a model; they are added. Each call draws new samples."""


def train(request: Request, loss: Loss, mask: Sequence[Tensor] | None = None) -> CVAE:
    """A copy of the start that minimises a loss with Adam.

    Raises NotFiniteError with the first step and term that were not finite.

    Parameters
    ----------
    mask : 1 where a weight may change and 0 elsewhere, in the order of `parameters`; None lets all change.
    """
    optimisation = request.settings.optimisation
    model = copy.deepcopy(request.start).requires_grad_(True)
    parameters = list(model.parameters())
    adam, schedule = make_optimiser(parameters, optimisation)
    watch = Watch(request.report)
    for step in range(1, optimisation.steps + 1):
        terms = loss(model)
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        for parameter, free in zip(parameters, mask or (), strict=False):
            if parameter.grad is not None:
                parameter.grad.mul_(free)
        adam.step()
        schedule.step()
        watch(step, {name: term.detach() for name, term in terms.items()})
        if request.on_step is not None:
            request.on_step(step, model)
    watch.check()
    return model


def latents(request: Request) -> Tensor:
    """(n, z_dim) of N(0, I), one for each sample of a batch."""
    n = request.settings.optimisation.batch_size
    return torch.randn(n, request.start.z_dim, generator=request.generator, device=request.generator.device)


def labels(request: Request, classes: Sequence[int]) -> Tensor:
    """(n,) int64, uniform over class indices."""
    return draw(classes, request.settings.optimisation.batch_size, request.generator)


def towards(model: CVAE, z: Tensor, classes: Tensor, images: Tensor) -> Tensor:
    """Cross-entropy of the pixels that labels (n,) draw at z to images (n, C, H, W): mean over samples, nats."""
    return pixel_cross_entropy(model.decode(z, one_hot(classes, model.classes)), images).mean()


def towards_images(request: Request, images: Callable[[Tensor, Tensor], Tensor]) -> CVAE:
    """The start after training towards `images(z, classes)` on the classes to forget, with replay of the others."""

    def loss(model: CVAE) -> dict[str, Tensor]:
        z, classes = latents(request), labels(request, request.settings.forget)
        with torch.no_grad():
            targets = images(z, classes)
        return {"forget": towards(model, z, classes, targets), "retain": replay(request, model)}

    return train(request, loss)


def replay(request: Request, model: CVAE) -> Tensor:
    """`retain_weight` times the cross-entropy to the start's images of every label that is not to be forgotten now."""
    others = [c for c in range(request.start.classes) if c not in request.settings.forget]
    z, classes = latents(request), labels(request, others)
    with torch.no_grad():
        images = request.start.sample(z, classes)
    weighted: Tensor = request.settings.retain_weight * towards(model, z, classes, images)
    return weighted


class RealImages:
    """Real training images of some classes, drawn with replacement. Raises ValueError if the data holds none."""

    def __init__(self, request: Request, classes: Sequence[int]) -> None:
        data = request.inputs.data
        assert data is not None
        self.request = request
        self.images, self.labels = data.train_images, data.train_labels
        wanted = torch.tensor(classes, device=self.labels.device)
        self.rows = torch.isin(self.labels, wanted).nonzero().squeeze(1)
        if not len(self.rows):
            raise ValueError(f"no training image of the classes {tuple(classes)}")

    def loss(self, model: CVAE) -> Tensor:
        """(n,) negative ELBO of a batch, nats."""
        generator = self.request.generator
        n = self.request.settings.optimisation.batch_size
        picked = torch.randint(len(self.rows), (n,), generator=generator, device=generator.device)
        rows = self.rows[picked]
        noise = latents(self.request)
        return negative_elbo(model, self.images[rows], self.labels[rows], noise).total


@torch.no_grad()
def nearest(request: Request, samples: int = 1_000) -> dict[int, int]:
    """Class to forget -> the retained one whose images at equal latents are nearest in mean squared distance."""
    start, generator = request.start, request.generator
    z = torch.randn(samples, start.z_dim, generator=generator, device=generator.device)

    def images(label: int) -> Tensor:
        return start.sample(z, torch.full((samples,), label, device=generator.device))

    others = {c: images(c) for c in request.retained}
    found = {}
    for label in request.settings.forget:
        own = images(label)
        found[label] = min(others, key=lambda c: float((others[c] - own).square().mean()))
    return found
