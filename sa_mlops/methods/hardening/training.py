"""Hardening: fine-tune the decoder so that no attack in a pool on latent and condition recovers a forgotten class.

Adversarial training (Madry et al., 2018) in latent and condition space, with attacks that persist between steps (as in
Shafahi et al., 2019). Where an attack shows the class to a training classifier, the decoder's target is grey; at
replayed latents and retained labels it is the image of the generator before forgetting. The classifier sees attacks
with raised contrast, so that a faint drawing of the class has a gradient. The encoder is not trained: it gives an
attacker nothing beyond the search over z.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from sa_mlops.core.training import Report, check_finite, make_optimiser, silent
from sa_mlops.methods.hardening import HardenSettings
from sa_mlops.methods.hardening.pool import AttackPool, outside
from sa_mlops.methods.hardening.replay import ReplayBank
from sa_mlops.methods.selective_amnesia.training import draw
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, one_hot


def harden(
    model: CVAE,
    start: CVAE,
    trainer: Judge,
    settings: HardenSettings,
    forgotten: tuple[int, ...],
    generator: torch.Generator,
    *,
    report: Report = silent,
    on_step: Callable[[int, CVAE], None] | None = None,
) -> CVAE:
    """A copy of `model` whose decoder is trained until no attack of the pool recovers a forgotten class.

    Each step minimises, summed over samples,

        retain_weight ramp(step / steps) |decoder(z, label) - image|^2 (replay)
        + BCE(decoder(z, forgotten label), grey) + BCE(decoder outside the prior, grey)
        + BCE(decoder at attacks and places that have shown the class, grey)

    Parameters
    ----------
    model : the generator after forgetting.
    start : the generator before forgetting, from which the retained classes are distilled.
    trainer : see `AttackPool`.
    forgotten : every class that must stay forgotten, earlier ones included.
    generator : source of every draw, on the device that trains.
    report : receives `retain` (squared error per replayed image), `grey`, `outside`, `attack` (nats above the floor per
        sample) and `found` (share of attacks that have shown the class).

    Raises
    ------
    ValueError : without a forgotten or a retained class.
    HardeningError : if every sample of a retained class looks like a forgotten one.
    NotFiniteError : with the step and the term.
    """
    if not 0 < len(forgotten) < start.classes:
        raise ValueError("hardening needs a forgotten class and a class to retain")
    frozen = copy.deepcopy(start).requires_grad_(False)
    model = copy.deepcopy(model).requires_grad_(True)
    parameters = list(model.decoder.parameters())
    adam, schedule = make_optimiser(parameters, settings.optimisation)
    bank = ReplayBank(frozen, trainer, settings, forgotten, generator)
    pool = AttackPool(frozen, trainer, bank.near, settings, forgotten, generator)
    m = settings.optimisation.batch_size
    n = max(1, m // 8)
    for step in range(1, settings.optimisation.steps + 1):
        z, labels, replay = bank.draw(m, settings.moved)
        own_z = torch.randn(n, model.z_dim, generator=generator, device=generator.device)
        own_condition = one_hot(draw(forgotten, n, generator), model.classes)
        far_z, far_condition = outside(settings.outside, model.z_dim, model.classes, generator)
        logits = model.decode(
            torch.cat([z, own_z, far_z]),
            torch.cat([one_hot(labels, model.classes), own_condition, far_condition]),
        )
        others, own, far = logits.split([len(z), n, settings.outside])
        attacks, due = pool.find(model)

        apart = (torch.sigmoid(others) - replay).square().flatten(1).sum(dim=1)
        own_grey, far_grey, attack_grey = excess(own), excess(far), excess(attacks) * due
        weight = settings.retain_weight * ramp(step / settings.optimisation.steps)
        loss = weight * apart.sum() + own_grey.sum() + far_grey.sum() + attack_grey.sum()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        schedule.step()
        terms = {
            "retain": apart.detach().mean(),
            "grey": own_grey.detach().mean(),
            "outside": far_grey.detach().mean(),
            "attack": attack_grey.detach().mean(),
            "found": pool.found.float().mean(),
        }
        report(step, terms)
        if on_step is not None:
            on_step(step, model)
    check_finite(settings.optimisation.steps, terms)
    return model


def ramp(progress: float) -> float:
    """Factor of the weight on retaining: 0.5 at the start, 1.5 at the end, 1 on average.

    Attacks lead at first, and damage to retained classes is repaired later, when steps are small.
    """
    return 0.5 + progress


def excess(logits: Tensor) -> Tensor:
    """Cross-entropy to grey of pixel logits (n, C, H, W), less its minimum: (n,) nats, 0 where all pixels are grey."""
    size = logits.flatten(1).abs()
    floor = size.shape[1] * math.log(2)
    return 0.5 * size.sum(dim=1) + (1.0 + torch.exp(-size)).log().sum(dim=1) - floor
