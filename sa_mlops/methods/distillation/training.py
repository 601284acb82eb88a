"""Distillation: the labels' outputs are taught to a student whose weights are noised or reinitialised.

UNDO, "Unlearn, Noise, Distill on Outputs" (Lee et al., 2025, arXiv:2506.06278): what a suppressed teacher does not show
is not passed on. The student starts from (1 - a) theta + a theta_new, with a the share of noise and theta_new freshly
drawn weights, and minimises

    BCE(D(z, c), D_teacher(z, c)) + KL(E_teacher(x, c) || E(x, c)),    x = D_teacher(z, c), z ~ N(0, I),

over all labels c: retained ones, and the forgotten ones with what the teacher draws for them. No real data is needed.
After hardening, the first term is added at places where attacks search too: the student is grey where its teacher is.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sa_mlops.core.elbo import pixel_cross_entropy
from sa_mlops.core.training import Report, Watch, make_optimiser, silent
from sa_mlops.methods.distillation import DistilSettings
from sa_mlops.methods.hardening.pool import outside
from sa_mlops.models.interface import CVAE, make_net, one_hot


def distil(
    teacher: CVAE, settings: DistilSettings, generator: torch.Generator, *, report: Report = silent
) -> CVAE:
    """A student of `teacher`, which is left as it is.

    Raises NotFiniteError with the first step and term that were not finite.

    Parameters
    ----------
    generator : source of every draw, on the device that trains.
    report : receives `decoder`, `encoder` and, after hardening, `places`, nats per sample.
    """
    frozen = copy.deepcopy(teacher).requires_grad_(False)
    student = noised(frozen, settings.noise, generator).requires_grad_(True)
    adam, schedule = make_optimiser(list(student.parameters()), settings.optimisation)
    watch = Watch(report)
    n, device = settings.optimisation.batch_size, generator.device
    for step in range(1, settings.optimisation.steps + 1):
        z = torch.randn(n, teacher.z_dim, generator=generator, device=device)
        labels = torch.randint(teacher.classes, (n,), generator=generator, device=device)
        condition = one_hot(labels, teacher.classes)
        with torch.no_grad():
            images = torch.sigmoid(frozen.decode(z, condition))
            posterior = frozen.encode(images, condition)
        terms = {
            "decoder": pixel_cross_entropy(student.decode(z, condition), images).mean(),
            "encoder": divergence(posterior, student.encode(images, condition)).mean(),
        }
        if settings.places:
            there = searched(settings.places, teacher.z_dim, teacher.classes, generator)
            with torch.no_grad():
                images = torch.sigmoid(frozen.decode(*there))
            terms["places"] = pixel_cross_entropy(student.decode(*there), images).mean()
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        adam.step()
        schedule.step()
        watch(step, {name: term.detach() for name, term in terms.items()})
    watch.check()
    return student


def searched(count: int, z_dim: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places where attacks search: latents (count, z_dim) and conditions (count, K).

    A quarter each: wide latents under mixtures of labels, under free conditions and near labels, and places outside the
    prior.
    """
    device, n = generator.device, count // 4
    scale = torch.rand((3 * n, 2), generator=generator, device=device)
    z = (1 + 3 * scale[:, :1]) * torch.randn(3 * n, z_dim, generator=generator, device=device)
    noise = torch.randn(3 * n, classes, generator=generator, device=device)
    mixture, free, near = (scale[:, 1:] * noise).split(n)
    label = 8 * one_hot(torch.randint(classes, (n,), generator=generator, device=device), classes)
    conditions = [(6 * mixture).softmax(dim=1), 4 * free, (label + near).softmax(dim=1)]
    far_z, far = outside(count - 3 * n, z_dim, classes, generator)
    return torch.cat([z, far_z]), torch.cat([*conditions, far])


@torch.no_grad()
def noised(model: CVAE, share: float, generator: torch.Generator) -> CVAE:
    """A copy with weights (1 - share) theta + share theta_new; theta_new are those of an untrained net."""
    torch.manual_seed(generator.initial_seed())
    new = make_net(model.net, model.spec, model.z_dim).to(generator.device)
    copied = copy.deepcopy(model)
    for parameter, drawn in zip(copied.parameters(), new.parameters(), strict=True):
        parameter.lerp_(drawn, share)
    return copied


def divergence(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor]) -> Tensor:
    """KL(p || q), (n,) nats, of diagonal Gaussians given as mean and log-variance, (n, d) each."""
    (mean_p, log_p), (mean_q, log_q) = p, q
    ratio = ((mean_p - mean_q).square() + log_p.exp()) / log_q.exp()
    return 0.5 * (log_q - log_p + ratio - 1).sum(dim=1)
