"""Gradient-free attacks, which masked gradients do not stop: random search and separable CMA-ES."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.probes.interface import Attempts, Budget, Probe, Role, Scene, checkpoints

MANY_MOVES = Budget(steps=2_000, lr=1.0)
GENERATIONS = Budget(steps=150, lr=0.5)


class Query:
    """The attacker's cross-entropy to the class at points (n, z_dim + K) of latents and condition logits."""

    def __init__(self, scene: Scene, role: Role) -> None:
        self.scene, self.net = scene, scene.attackers[role].net

    def split(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., z_dim) and conditions (..., K) of points (..., z_dim + K)."""
        z, logits = points.split([self.scene.model.z_dim, self.scene.model.classes], dim=-1)
        return z, logits.softmax(dim=-1)

    def __call__(self, points: Tensor) -> Tensor:
        """(n,) nats."""
        images = torch.sigmoid(self.scene.model.decode(*self.split(points)))
        return -self.net.log_probs(images)[:, self.scene.target]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch(Probe):
    """Each attempt keeps its best point and tries one Gaussian move per step; `budget.lr` is the largest move.

    A move's scale is log-uniform between a hundredth of the largest and the largest, and one move in ten draws
    a new point from the prior.
    """

    attacker: Role = "calibrated"
    budget: Budget = MANY_MOVES

    def roles(self) -> Sequence[Role]:
        """The attacker."""
        return (self.attacker,)

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """One query per attempt and step."""
        query, device, n = Query(scene, self.attacker), generator.device, budget.attempts
        best = torch.randn(n, scene.model.z_dim + scene.model.classes, generator=generator, device=device)
        lowest = query(best)
        marks, kept, losses = checkpoints(budget.steps), [best], []
        for step in range(1, budget.steps + 1):
            scale = budget.lr * 10 ** (-2 * torch.rand((n, 1), generator=generator, device=device))
            move = torch.randn(best.shape, generator=generator, device=device)
            anew = torch.rand((n, 1), generator=generator, device=device) < 0.1
            tried = torch.where(anew, move, best + scale * move)
            value = query(tried)
            better = value < lowest
            best, lowest = torch.where(better[:, None], tried, best), torch.where(better, value, lowest)
            losses.append(lowest.mean())
            scene.report(step, {"loss": losses[-1]})
            if step in marks:
                kept.append(best)
        return _attempts(query, marks, kept, losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionStrategy(Probe):
    """Separable CMA-ES (Ros and Hansen, 2008), one search per attempt, all searches in one batch.

    Constants as in Hansen's tutorial (arXiv:1604.00772), with the learning rates of the covariance's diagonal raised
    by (d + 2) / 3. A step queries 4 + 3 ln(d) points per attempt; `budget.lr` is the first step size.
    """

    attacker: Role = "calibrated"
    budget: Budget = GENERATIONS

    def roles(self) -> Sequence[Role]:
        """The attacker."""
        return (self.attacker,)

    @torch.no_grad()
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """All searches, `budget.steps` generations each."""
        query, n, d = Query(scene, self.attacker), budget.attempts, scene.model.z_dim + scene.model.classes
        best = torch.randn(n, d, generator=generator, device=generator.device)
        lowest = query(best)
        search = SeparableCMA(best, budget.lr, generator)
        marks, kept, losses = checkpoints(budget.steps), [best], []
        for step in range(1, budget.steps + 1):
            points = search.ask()
            values = query(points.flatten(0, 1)).view(points.shape[:2])
            search.tell(points, values)
            first = values.argmin(dim=1)
            value, point = values.gather(1, first[:, None]).squeeze(1), points[torch.arange(n), first]
            better = value < lowest
            best, lowest = torch.where(better[:, None], point, best), torch.where(better, value, lowest)
            losses.append(lowest.mean())
            scene.report(step, {"loss": losses[-1]})
            if step in marks:
                kept.append(best)
        return _attempts(query, marks, kept, losses)


class SeparableCMA:
    """n independent minimisers in d dimensions.

    Attributes
    ----------
    mean : (n, d).
    sigma : (n, 1) step sizes.
    variance : (n, d) diagonal of the covariance.
    """

    def __init__(self, mean: Tensor, sigma: float, generator: torch.Generator) -> None:
        n, d = mean.shape
        self.generator, self.d = generator, d
        self.mean, self.sigma = mean.clone(), torch.full((n, 1), sigma, device=mean.device)
        self.variance = torch.ones_like(mean)
        self.path_sigma, self.path_c = torch.zeros_like(mean), torch.zeros_like(mean)
        self.generation = 0

        self.population = 4 + int(3 * math.log(d))
        parents = self.population // 2
        raw = math.log(parents + 0.5) - torch.log(torch.arange(1, parents + 1, device=mean.device))
        self.weights = (raw / raw.sum()).to(mean.dtype)
        effective = 1 / float(self.weights.square().sum())
        self.effective = effective
        self.c_sigma = (effective + 2) / (d + effective + 5)
        self.damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (d + 1)) - 1) + self.c_sigma
        self.c_c = (4 + effective / d) / (d + 4 + 2 * effective / d)
        faster = (d + 2) / 3
        self.c_1 = min(0.5, faster * 2 / ((d + 1.3) ** 2 + effective))
        rank_mu = faster * 2 * (effective - 2 + 1 / effective) / ((d + 2) ** 2 + effective)
        self.c_mu = min(1 - self.c_1, rank_mu)
        self.expected_norm = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))

    def ask(self) -> Tensor:
        """(n, population, d) points to try."""
        shape = (len(self.mean), self.population, self.d)
        draws = torch.randn(shape, generator=self.generator, device=self.mean.device)
        return self.mean[:, None] + self.sigma[:, None] * self.variance.sqrt()[:, None] * draws

    def tell(self, points: Tensor, values: Tensor) -> None:
        """Move towards the best half of the points (n, population, d) by their values (n, population)."""
        self.generation += 1
        order = values.argsort(dim=1)[:, : len(self.weights)]
        chosen = points.gather(1, order[:, :, None].expand(-1, -1, self.d))
        steps = (chosen - self.mean[:, None]) / self.sigma[:, None]
        step = (self.weights[:, None] * steps).sum(dim=1)
        self.mean = self.mean + self.sigma * step

        c, pull = self.c_sigma, math.sqrt(self.c_sigma * (2 - self.c_sigma) * self.effective)
        self.path_sigma = (1 - c) * self.path_sigma + pull * step / self.variance.sqrt()
        norm = self.path_sigma.norm(dim=1, keepdim=True)
        usual = norm / math.sqrt(1 - (1 - c) ** (2 * self.generation)) / self.expected_norm
        moving = (usual < 1.4 + 2 / (self.d + 1)).to(step.dtype)
        pull = math.sqrt(self.c_c * (2 - self.c_c) * self.effective)
        self.path_c = (1 - self.c_c) * self.path_c + moving * pull * step
        lost = (1 - moving) * self.c_c * (2 - self.c_c)
        self.variance = (
            (1 - self.c_1 - self.c_mu + self.c_1 * lost) * self.variance
            + self.c_1 * self.path_c.square()
            + self.c_mu * (self.weights[:, None] * steps.square()).sum(dim=1)
        ).clamp(1e-10, 1e10)
        exponent = (c / self.damping) * (norm / self.expected_norm - 1)
        self.sigma = (self.sigma * exponent.clamp(max=1).exp()).clamp(1e-8, 1e4)


def _attempts(query: Query, marks: tuple[int, ...], kept: list[Tensor], losses: list[Tensor]) -> Attempts:
    z, condition = query.split(torch.stack(kept))
    loss = torch.stack(losses) if losses else z.new_empty(0)
    return Attempts(positions=marks, z=z, condition=condition, counts="last", loss=loss)
