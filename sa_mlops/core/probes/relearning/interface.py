"""The interface of relearning: a budget, its curves, and the sweep over learning rates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from sa_mlops.core.elbo import negative_elbo_under
from sa_mlops.core.probes.interface import SUCCESS, Classifier, Scene, checkpoints, scored
from sa_mlops.core.probes.relearning.all_weights import all_weights
from sa_mlops.models.interface import CVAE, one_hot

Part = Callable[[CVAE, torch.Generator], list[nn.Parameter]]
"""Prepares a copy of the generator, in place, and returns the tensors that are trained."""

SAMPLES = 500
SWEEP: Mapping[float, float] = MappingProxyType({1.0: 1.0, 3.0: 0.5, 10.0: 0.25})
"""Factor on a budget's learning rate -> share of its steps that are spent with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelearnBudget:
    """Fine-tuning on `images` real images of the class alone, all of them in each step.

    Attributes
    ----------
    images : real images, drawn without replacement.
    label : of training and sampling: the class's own, that of its nearest neighbour, or both by half. A generator that
        is hard to train under one label still has the others.
    part, words : which tensors are trained, and in words; empty for all.
    steps, lr : of Adam on the negative ELBO, summed over the images.
    """

    images: int
    label: Literal["own", "neighbour", "mixture"] = "own"
    part: Part = all_weights
    words: str = ""
    steps: int = 1_000
    lr: float = 1e-4

    def under(self, target: int, neighbours: tuple[int, int]) -> tuple[int, ...]:
        """The labels of training and sampling for class `target`, with equal weights."""
        return {
            "own": (target,), "neighbour": (neighbours[0],), "mixture": (target, neighbours[0]),
        }[self.label]  # fmt: skip


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

    Raises ValueError if the class has fewer real images than the budget.
    """
    rows = (scene.labels == scene.target).nonzero().flatten()
    if not 1 <= budget.images <= len(rows):
        raise ValueError(f"{budget.images} images wanted; class {scene.target} has {len(rows)}")
    device = generator.device
    few = scene.images[rows[torch.randperm(len(rows), generator=generator, device=device)[: budget.images]]]
    labels = torch.tensor(budget.under(scene.target, scene.neighbours), device=device)
    condition = one_hot(labels, scene.model.classes).mean(dim=0)
    z = torch.randn(SAMPLES, scene.model.z_dim, generator=generator, device=device)

    model = copy.deepcopy(scene.model)
    adam = torch.optim.Adam(budget.part(model, generator), lr=budget.lr, fused=True)
    marks, probability, images, losses = checkpoints(budget.steps), [], [], []
    for step in range(budget.steps + 1):
        if step in marks:
            with torch.no_grad():
                samples = torch.sigmoid(model.decode(z, condition.expand(SAMPLES, -1)))
                probability.append(scored(judge.net, samples)[:, scene.target])
            images.append(samples[:10])
        if step == budget.steps:
            break
        noise = torch.randn(len(few), model.z_dim, generator=generator, device=device)
        loss = negative_elbo_under(model, few, condition.expand(len(few), -1), noise).total.sum()
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
