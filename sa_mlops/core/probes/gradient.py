"""Gradient attacks: optimise the latent, the condition or both for an attacker's probability of the class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.core.prior import shell
from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Role, Scene, checkpoints
from sa_mlops.core.training import Report, silent
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import one_hot

Moves = Literal["z", "condition", "both", "alternating"]

FAST = Budget(steps=500, lr=0.1)
MOST_REAL = 10_000
"""At most as many real images behind the mean and deviation of pixels."""

CONFIDENT = 4.0
"""Logit of a start's own class, the others' being 0: a weight of 0.86 on it among ten classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient(Probe):
    """Adam on the attacker's cross-entropy to the class, each attempt independent; each keeps its best image.

    Attributes
    ----------
    moves : variables to optimise; `alternating` changes between both in every step.
    attacker : role of the classifier whose probability is maximised.
    start : `prior` draws z and the condition's logits from N(0, I); `neighbour` takes the latents that the generator's
        own encoder gives real images of the class most like it, the condition set to that class; `retained` draws z
        from N(0, I) and sets the condition to the retained labels in turn, one an attempt; `solutions` first runs the
        same attack from the prior against the base.
    softmax : the condition is a softmax of the optimised logits; otherwise it is free.
    bounded : keep the norm of z in the prior's shell.
    views : 0 shows the attacker the image; m > 0 shows m altered views of images near it, and climbs their mean
        (expectation over transformations, Athalye et al., 2018).
    """

    moves: Moves = "both"
    attacker: Role = "calibrated"
    start: Literal["prior", "neighbour", "retained", "solutions"] = "prior"
    softmax: bool = True
    bounded: bool = False
    views: int = 0
    budget: Budget = FAST

    def roles(self) -> Sequence[Role]:
        """The attacker."""
        return (self.attacker,)

    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """All attempts in one batch."""
        z, free = self.begin(scene, budget, generator)
        net = scene.attackers[self.attacker].net
        real = torch.std_mean(scene.images[:MOST_REAL])

        def loss(z: Tensor, condition: Tensor) -> Tensor:
            if not self.views:
                return -net.log_probs(torch.sigmoid(scene.model.decode(z, condition)))[:, scene.target]
            return expected_loss(scene, net, z, condition, self.views, real, generator)

        limits = shell(scene.model.z_dim) if self.bounded else None
        return descend(
            loss, z, free, budget, self.moves, softmax=self.softmax, limits=limits, report=scene.report
        )

    def begin(self, scene: Scene, budget: Budget, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (n, z_dim) and free conditions (n, K), logits where `softmax`."""
        n = budget.attempts
        match self.start:
            case "prior":
                z, size = scene.latents(n, generator), (n, scene.model.classes)
                free = torch.randn(size, generator=generator, device=generator.device)
                return z, free if self.softmax else free.softmax(dim=1)
            case "neighbour":
                near = scene.neighbours[0]
                label = scene.condition(near, n)
                with torch.no_grad():
                    z, _ = scene.model.encode(scene.real(near, n, generator), label)
                return z, CONFIDENT * label if self.softmax else label
            case "retained":
                z = scene.latents(n, generator)
                labels = torch.tensor(scene.retained, device=z.device).repeat(n)[:n]
                label = one_hot(labels, scene.model.classes)
                return z, CONFIDENT * label if self.softmax else label
            case "solutions":
                on_base = replace(scene, model=scene.base, report=silent)
                found = replace(self, start="prior").attack(on_base, budget, generator)
                condition = found.condition[-1]
                # A softmax of logarithms is the condition itself.
                return found.z[-1], condition.clamp(min=1e-6).log() if self.softmax else condition


def descend(
    loss: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    free: Tensor,
    budget: Budget,
    moves: Moves,
    *,
    softmax: bool,
    limits: tuple[float, float] | None,
    report: Report,
    wanted: Tensor | None = None,
) -> Attempts:
    """Adam on the sum of per-attempt losses (n,); Adam is elementwise, so attempts are independent.

    Parameters
    ----------
    loss : of z (n, z_dim) and the condition (n, K) as the decoder receives it.
    free : (n, K), a condition or its logits.
    limits : lowest and highest norm of z, or None.
    wanted : (n, C, H, W) images to reproduce, kept in the result.
    """
    z = clipped(z, limits).detach().clone().requires_grad_(True)
    free = free.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([z, free], lr=budget.lr)
    best = torch.full((len(z),), torch.inf, device=z.device)
    best_z, best_free = z.detach().clone(), free.detach().clone()
    marks, kept_z, kept_free, losses = checkpoints(budget.steps), [], [], []
    for step in range(budget.steps + 1):
        per_attempt = loss(z, free.softmax(dim=1) if softmax else free)
        with torch.no_grad():
            better = per_attempt < best
            best = torch.where(better, per_attempt, best)
            best_z = torch.where(better[:, None], z, best_z)
            best_free = torch.where(better[:, None], free, best_free)
        if step in marks:
            kept_z.append(best_z)
            kept_free.append(best_free)
        if step == budget.steps:
            break
        gradients = torch.autograd.grad(per_attempt.sum(), [z, free])
        # Adam skips variables without a gradient.
        move_z = moves in ("z", "both") or (moves == "alternating" and step % 2 == 0)
        move_condition = moves in ("condition", "both") or (moves == "alternating" and step % 2 == 1)
        z.grad = gradients[0] if move_z else None
        free.grad = gradients[1] if move_condition else None
        adam.step()
        with torch.no_grad():
            z.copy_(clipped(z, limits))
        losses.append(per_attempt.detach().mean())
        report(step + 1, {"loss": losses[-1]})
    condition = torch.stack(kept_free)
    return Attempts(
        positions=marks,
        z=torch.stack(kept_z),
        condition=condition.softmax(dim=2) if softmax else condition,
        counts="last",
        loss=torch.stack(losses) if losses else z.new_empty(0),
        wanted=wanted,
    )


def clipped(z: Tensor, limits: tuple[float, float] | None) -> Tensor:
    """Latents (n, d) scaled so that each norm lies within the limits."""
    if limits is None:
        return z
    norm = z.norm(dim=1, keepdim=True).clamp(min=1e-6)
    scaled: Tensor = z * (norm.clamp(*limits) / norm)
    return scaled


Z_NOISE = 0.2
CONDITION_NOISE = 0.05


def expected_loss(
    scene: Scene,
    net: Judge,
    z: Tensor,
    condition: Tensor,
    views: int,
    real: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Mean cross-entropy (n,) over altered views of images near (z, condition).

    Noise on z and the condition smooths the loss. Every view is shifted, a random part of its pixels' deviation from
    their mean is stretched to that of real images, for a gradient at faint shapes, and uniform noise is added.

    Parameters
    ----------
    real : standard deviation and mean of the pixels of real images.
    """
    n, device = len(z), z.device
    contrast, level = real
    total = z.new_zeros(n)
    for _ in range(views):
        near_z = z + Z_NOISE * torch.randn(z.shape, generator=generator, device=device)
        near_c = condition + CONDITION_NOISE * torch.randn(
            condition.shape, generator=generator, device=device
        )
        images = torch.sigmoid(scene.model.decode(near_z, near_c))
        share = torch.rand((n, 1, 1, 1), generator=generator, device=device)
        mean = images.flatten(1).mean(dim=1)[:, None, None, None]
        spread = images.flatten(1).std(dim=1)[:, None, None, None] + 1e-3
        stretched = (level + contrast * (images - mean) / spread).clamp(0, 1)
        grain = 0.1 * torch.rand((n, 1, 1, 1), generator=generator, device=device)
        noise = torch.rand(images.shape, generator=generator, device=device)
        view = (1 - grain) * (share * images + (1 - share) * stretched) + grain * noise
        dy, dx = torch.randint(-1, 2, (2,), generator=generator, device=device).tolist()
        h, w = view.shape[2:]
        view = F.pad(view, (1, 1, 1, 1))[..., 1 + dy : 1 + h + dy, 1 + dx : 1 + w + dx].contiguous()
        total = total - net.log_probs(view)[:, scene.target]
    return total / views
