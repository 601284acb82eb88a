"""Few-shot relearning: training on a few real images of the class, at several learning rates."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.probes.interface import SUCCESS, Classifier, Scene, checkpoints, scored
from sa_mlops.models.interface import one_hot

SAMPLES = 500
SWEEP: Mapping[float, float] = MappingProxyType({1.0: 1.0, 3.0: 0.5, 10.0: 0.25})
"""Factor on a budget's learning rate -> share of its steps that are spent with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelearnBudget:
    """Fine-tuning on `images` real images of the class alone, all of them in each step.

    Attributes
    ----------
    images : real images, drawn without replacement.
    label : label of training and sampling, the class's own or that of its nearest neighbour: a generator that is hard
        to train under one label still has the others.
    steps, lr : of Adam on the negative ELBO, summed over the images.
    """

    images: int
    label: Literal["own", "neighbour"] = "own"
    steps: int = 1_000
    lr: float = 1e-4

    def under(self, target: int, neighbours: tuple[int, int]) -> int:
        """The label of training and sampling for class `target`."""
        return target if self.label == "own" else neighbours[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relearning:
    """Curves over the k steps that were evaluated.

    Attributes
    ----------
    lr : learning rate.
    positions : (k,) steps.
    accepted : (k,) share of samples with the judge's probability above one half.
    probability : (k,) judge's mean probability of the class.
    images : (k, 10, C, H, W) the same ten latents at each step.
    loss : (steps,) nats per image.
    """

    lr: float
    positions: tuple[int, ...]
    accepted: Tensor
    probability: Tensor
    images: Tensor
    loss: Tensor

    @property
    def worst(self) -> tuple[float, int]:
        """Largest share accepted, and the step with it: an attacker stops when it suits."""
        step = int(self.accepted.argmax())
        return float(self.accepted[step]), self.positions[step]

    def steps_until(self, share: float) -> int | None:
        """First evaluated step with at least this share accepted; None if there is none."""
        reached = (self.accepted >= share).nonzero().flatten().tolist()
        return self.positions[reached[0]] if reached else None


def sweep(
    scene: Scene, judge: Classifier, budget: RelearnBudget, generator: torch.Generator
) -> tuple[Relearning, ...]:
    """`relearn` from the same images at each learning rate of `SWEEP`; the budget's own comes first.

    `scene.report` counts the steps of all, `sweep_steps(budget)`. Errors as in `relearn`.
    """
    found: list[Relearning] = []
    done = 0
    for factor, steps in _parts(budget).items():

        def report(step: int, terms: Mapping[str, Tensor], before: int = done) -> None:
            scene.report(before + step, terms)

        tried = replace(budget, lr=factor * budget.lr, steps=steps)
        draws = torch.Generator(device=generator.device).manual_seed(generator.initial_seed())
        found.append(relearn(replace(scene, report=report), judge, tried, draws))
        done += steps
    return tuple(found)


def sweep_steps(budget: RelearnBudget) -> int:
    """Steps of a sweep, over all learning rates."""
    return sum(_parts(budget).values())


def _parts(budget: RelearnBudget) -> dict[float, int]:
    return {factor: max(1, round(share * budget.steps)) for factor, share in SWEEP.items()}


def relearn(
    scene: Scene,
    judge: Classifier,
    budget: RelearnBudget,
    generator: torch.Generator,
) -> Relearning:
    """Fine-tune a copy of the generator under attack, without an attacker.

    Raises
    ------
    ValueError : if the class has fewer real images than the budget.
    """
    rows = (scene.labels == scene.target).nonzero().flatten()
    if not 1 <= budget.images <= len(rows):
        raise ValueError(f"{budget.images} images wanted; class {scene.target} has {len(rows)}")
    device = generator.device
    few = scene.images[rows[torch.randperm(len(rows), generator=generator, device=device)[: budget.images]]]
    label = budget.under(scene.target, scene.neighbours)
    labels = torch.full((len(few),), label, device=device)
    z = torch.randn(SAMPLES, scene.model.z_dim, generator=generator, device=device)
    asked = one_hot(torch.full((SAMPLES,), label, device=device), scene.model.classes)

    model = copy.deepcopy(scene.model).requires_grad_(True)
    adam = torch.optim.Adam(model.parameters(), lr=budget.lr, fused=True)
    marks, probability, images, losses = checkpoints(budget.steps), [], [], []
    for step in range(budget.steps + 1):
        if step in marks:
            with torch.no_grad():
                samples = torch.sigmoid(model.decode(z, asked))
                probability.append(scored(judge.net, samples)[:, scene.target])
            images.append(samples[:10])
        if step == budget.steps:
            break
        noise = torch.randn(len(few), model.z_dim, generator=generator, device=device)
        loss = negative_elbo(model, few, labels, noise).total.sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.detach() / len(few))
        scene.report(step + 1, {"loss": losses[-1]})
    seen = torch.stack(probability)
    return Relearning(
        lr=budget.lr,
        positions=marks,
        accepted=(seen > SUCCESS).float().mean(dim=1),
        probability=seen.mean(dim=1),
        images=torch.stack(images),
        loss=torch.stack(losses) if losses else seen.new_empty(0),
    )
