"""The training loop of Selective Amnesia, which makes a trained conditional VAE forget classes and retain the others.

After Heng and Soh, "Selective Amnesia: A Continual Learning Approach to Forgetting in Deep Generative Models", NeurIPS
2023, arXiv:2305.10120. Each step minimises, with losses summed over the batch,

    nELBO(surrogate images, forgotten labels) + nELBO(replayed images, retained labels)
    + ewc_lambda * sum_i F_i (theta_i - theta0_i)^2

where replayed images come from the frozen start of the step. The penalty has no factor 1/2, as in the reference code;
the paper writes lambda / 2. Because losses are sums, the penalty's relative weight falls as the batch grows.

`decoder_terms` adds to both sides the cross-entropy where samples are drawn from, decoder(z ~ N(0, I), c), against the
surrogate and against the frozen decoder at the same z. With it hundreds of steps suffice instead of thousands, because
the encoder need not first map the surrogate near the prior. On the replay side its weight is `distillation`: it alone
preserves the decoder's images pointwise, while the ELBO on replayed means blurs them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sa_mlops.core.elbo import negative_elbo, pixel_cross_entropy
from sa_mlops.core.fisher import Diagonal
from sa_mlops.core.training import Report, Watch, make_optimiser, silent
from sa_mlops.methods.selective_amnesia import ForgetSettings
from sa_mlops.models.interface import CVAE, one_hot


class Anchor:
    """The penalty weight * sum_i F_i (theta_i - theta0_i)^2 against a net's present parameters; no factor 1/2.

    Value and gradient in closed form: three passes over the parameters per step instead of autograd's ten.
    """

    def __init__(self, model: nn.Module, fisher: Diagonal, weight: float) -> None:
        self.theta0 = [p.detach().clone() for p in model.parameters()]
        self.stiffness = [2.0 * weight * fisher[name] for name, _ in model.named_parameters()]

    @torch.no_grad()
    def __call__(self, parameters: list[nn.Parameter]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The penalty, a scalar, and its gradient, one tensor per parameter."""
        moved = [p - p0 for p, p0 in zip(parameters, self.theta0, strict=True)]
        pull = tuple(k * d for k, d in zip(self.stiffness, moved, strict=True))
        energy = [0.5 * torch.dot(g.flatten(), d.flatten()) for g, d in zip(pull, moved, strict=True)]
        return torch.stack(energy).sum(), pull


def draw_surrogate(
    kind: str,
    count: int,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    images: Tensor | None = None,
) -> Tensor:
    """Images (count, C, H, W) that replace the forgotten class, for `shape` (C, H, W).

    `noise` draws U[0, 1] pixels, `grey` is 0.5 everywhere, `images` draws rows of the given (n, C, H, W).
    """
    device = generator.device
    match kind:
        case "noise":
            return torch.rand(count, *shape, generator=generator, device=device)
        case "grey":
            return torch.full((count, *shape), 0.5, device=device)
        case "images" if images is not None and len(images):
            return images[torch.randint(len(images), (count,), generator=generator, device=device)]
    raise ValueError(f"no surrogate images for {kind!r}")


def draw(values: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """(count,) int64 labels, uniform over `values`."""
    rows = torch.randint(len(values), (count,), generator=generator, device=generator.device)
    return torch.tensor(values, device=generator.device)[rows]


class Replay(NamedTuple):
    """Samples of the retained classes from the frozen generator: (m, z_dim), (m,), (m, C, H, W)."""

    z: Tensor
    labels: Tensor
    images: Tensor


class Surrogate(NamedTuple):
    """Targets of the forgotten classes: (n, z_dim), (n,), (n, C, H, W)."""

    z: Tensor
    labels: Tensor
    images: Tensor


def draw_batch(
    frozen: CVAE, settings: ForgetSettings, generator: torch.Generator, surrogate_images: Tensor | None
) -> tuple[Surrogate, Replay]:
    """Samples of one step. Replay draws retained classes only."""
    device = generator.device
    n = settings.optimisation.batch_size
    m = max(1, round(n * settings.replay_ratio))
    labels = draw(settings.forget, n, generator)
    if settings.earlier:
        again = torch.rand(n, generator=generator, device=device) < settings.reteach
        labels = torch.where(again, draw(settings.earlier, n, generator), labels)
    images = draw_surrogate(settings.surrogate, n, frozen.shape, generator, surrogate_images)
    z = torch.randn(n + m, frozen.z_dim, generator=generator, device=device)
    retained = draw(settings.retained(frozen.classes), m, generator)
    with torch.no_grad():
        replayed = frozen.sample(z[n:], retained)
    return Surrogate(z[:n], labels, images), Replay(z[n:], retained, replayed)


def objective(
    model: CVAE,
    surrogate: Surrogate,
    replay: Replay,
    settings: ForgetSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The forget term and the replay term, scalars, summed over their samples.

    Surrogate and replay pass the net together: one matrix product a layer.
    """
    n, m = len(surrogate.labels), len(replay.labels)
    images = torch.cat([surrogate.images, replay.images])
    labels = torch.cat([surrogate.labels, replay.labels])
    noise = torch.randn(n + m, model.z_dim, generator=generator, device=images.device)
    loss = negative_elbo(model, images, labels, noise).total
    if settings.decoder_terms:
        logits = model.decode(torch.cat([surrogate.z, replay.z]), one_hot(labels, model.classes))
        weight = torch.ones_like(loss)
        weight[n:] = settings.distillation
        loss = loss + weight * pixel_cross_entropy(logits, images)
    forget, remember = loss.split([n, m])
    return forget.sum(), remember.sum()


def forget(
    start: CVAE,
    fisher: Diagonal,
    settings: ForgetSettings,
    generator: torch.Generator,
    *,
    surrogate_images: Tensor | None = None,
    report: Report = silent,
    on_step: Callable[[int, CVAE], None] | None = None,
) -> CVAE:
    """A copy of `start` trained to forget `settings.forget`.

    Raises NotFiniteError with the first step and term that were not finite.

    Parameters
    ----------
    start : the generator to start from, also the frozen source of replay and the anchor of the penalty.
    fisher : parameter name -> Fisher diagonal.
    generator : source of every draw, on the device that trains.
    surrogate_images : (n, C, H, W) in [0, 1] for `settings.surrogate == "images"`.
    report : receives `forget`, `replay` (nats per sample), `ewc` (with its weight), `gradient_norm`.
    """
    frozen = copy.deepcopy(start).requires_grad_(False)
    model = copy.deepcopy(start).requires_grad_(True)
    parameters = list(model.parameters())
    anchor = Anchor(model, fisher, settings.ewc_lambda)
    adam, schedule = make_optimiser(parameters, settings.optimisation)
    watch = Watch(report)
    for step in range(1, settings.optimisation.steps + 1):
        surrogate, replay = draw_batch(frozen, settings, generator, surrogate_images)
        forgetting, remembering = objective(model, surrogate, replay, settings, generator)
        penalty, pull = anchor(parameters)
        terms = {
            "forget": forgetting.detach() / len(surrogate.labels),
            "replay": remembering.detach() / len(replay.labels),
            "ewc": penalty,
        }

        gradients = update_direction(settings.update, step, forgetting, remembering, pull, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        schedule.step()
        terms["gradient_norm"] = torch.nn.utils.get_total_norm(list(gradients))
        watch(step, terms)
        if on_step is not None:
            on_step(step, model)
    watch.check()
    return model


def update_direction(
    update: str,
    step: int,
    forgetting: Tensor,
    remembering: Tensor,
    pull: tuple[Tensor, ...],
    parameters: list[nn.Parameter],
) -> tuple[Tensor, ...]:
    """The gradient to descend, one tensor per parameter; `pull`, the penalty's gradient, is part of remembering.

    `standard` is the gradient of the sum. `projected` removes from each of the two gradients its part against the
    other, if they conflict, and adds them (gradient surgery, Yu et al., 2020). `alternating` descends the forget term
    in odd steps and the remember term in even ones.
    """

    def gradient(loss: Tensor, *, more: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, parameters, retain_graph=more, materialize_grads=True)

    def held(gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(g + p for g, p in zip(gradients, pull, strict=True))

    match update:
        case "standard":
            return held(gradient(forgetting + remembering))
        case "alternating":
            return gradient(forgetting) if step % 2 else held(gradient(remembering))
        case "projected":
            return project(gradient(forgetting, more=True), held(gradient(remembering)))
    raise ValueError(f"no update {update!r}")


def project(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The sum of a and b, each without its component against the other if they conflict (a · b < 0). No host sync."""

    def dot(x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([(u * v).sum() for u, v in zip(x, y, strict=True)]).sum()

    inner = dot(a, b).clamp(max=0)
    tiny = torch.finfo(torch.float32).tiny
    onto_b, onto_a = inner / dot(b, b).clamp(min=tiny), inner / dot(a, a).clamp(min=tiny)
    return tuple((u - onto_b * v) + (v - onto_a * u) for u, v in zip(a, b, strict=True))
