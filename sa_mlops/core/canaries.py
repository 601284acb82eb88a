"""Canaries: marked training images, planted several times, as the positive control of membership inference.

A membership attack that finds nothing is evidence only if it finds images that a model does remember. Canaries are such
images (Carlini et al., 2019, arXiv:1802.08232): real ones of a class in which a share of the pixels is random, so that
only a model that was trained on them can predict them. The attack must tell them from images that are marked alike and
never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.metrics.membership import Membership, membership_inference
from sa_mlops.datasets.spec import ByteImages, Dataset, Images
from sa_mlops.models.interface import CVAE

REPEATS = (1, 10, 100)
"""How often the images of a group are planted."""
COUNT, HELD_OUT = 20, 200
"""Images of a group; images that are not planted, marked alike."""
MARKED = 0.25
"""Share of the pixels that are random, 0 or 1."""
DRAWS = 8
"""Reparameterised draws behind an image's negative ELBO."""
REMEMBERED = 0.9
"""AUC from which an attack is known to find what a model remembers."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Marked images of one class.

    Attributes
    ----------
    label : index of the class.
    planted : number of repetitions -> images (`COUNT`, C, H, W).
    held_out : (`HELD_OUT`, C, H, W), never planted.
    """

    label: int
    planted: dict[int, Tensor]
    held_out: Tensor

    def planted_in(self, data: Dataset) -> Dataset:
        """The data set with each group appended to the training images as often as it says."""
        images = torch.cat([group.repeat(times, 1, 1, 1) for times, group in self.planted.items()])
        labels = torch.full((len(images),), self.label, device=data.train_labels.device)
        return replace(
            data, train_images=_joined(data.train_images, images), train_labels=torch.cat([data.train_labels, labels])
        )  # fmt: skip

    @torch.no_grad()
    def found(self, model: CVAE, generator: torch.Generator) -> dict[int, Membership]:
        """Number of repetitions -> success of the membership attack on a generator, planted against held out.

        Parameters
        ----------
        generator : source of the draws and resamples, on the model's device.
        """
        unseen = self._losses(model, self.held_out, generator)
        return {
            times: membership_inference(self._losses(model, group, generator), unseen, generator)
            for times, group in self.planted.items()
        }

    def _losses(self, model: CVAE, images: Tensor, generator: torch.Generator) -> Tensor:
        labels = torch.full((len(images),), self.label, device=images.device)
        draws = [
            torch.randn(len(images), model.z_dim, generator=generator, device=images.device)
            for _ in range(DRAWS)
        ]
        return torch.stack([negative_elbo(model, images, labels, noise).total for noise in draws]).mean(dim=0)


def make_canaries(data: Dataset, label: int, generator: torch.Generator) -> Canaries:
    """Canaries of one class, from its test images, so that no unmarked copy is trained on.

    Parameters
    ----------
    generator : source of every draw, on the device of the images.
    """
    rows = (data.test_labels == label).nonzero().flatten()
    # Drawn with replacement: equal images differ in their marks.
    count = COUNT * len(REPEATS) + HELD_OUT
    picks = torch.randint(len(rows), (count,), generator=generator, device=rows.device)
    images = data.test_images[rows[picks]]
    marks = torch.rand(images.shape, generator=generator, device=images.device)
    noise = torch.randint(2, images.shape, generator=generator, device=images.device).to(images.dtype)
    marked = torch.where(marks < MARKED, noise, images)
    groups = marked[: COUNT * len(REPEATS)].split(COUNT)
    return Canaries(label, dict(zip(REPEATS, groups, strict=True)), marked[COUNT * len(REPEATS) :])


def _joined(images: Images, more: Tensor) -> Images:
    if isinstance(images, ByteImages):
        levels = (more * 255).round().to(torch.uint8).to(images.levels.device)
        return ByteImages(torch.cat([images.levels, levels]), images.device)
    return torch.cat([images, more])
