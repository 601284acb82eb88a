"""The pool of attacks that persist between steps, and the places outside the prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.core.prior import shell
from sa_mlops.methods.hardening import HardenSettings
from sa_mlops.methods.hardening.buffer import Buffer
from sa_mlops.methods.selective_amnesia.training import draw
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, one_hot

CONDITION_SPREAD = 6.0
"""Attacks start from conditions softmax(N(0, s^2)), s uniform up to this: from even mixtures to labels."""

FREE_RATE = 0.5
"""Step of a free condition relative to that of logits, because a softmax moves less than its logits."""

FREE_SPREAD = 4.0
"""Free conditions outside the prior are N(0, s^2), s uniform up to this: beyond those of unbounded attacks."""

TAIL = 0.005
"""Share of the prior's samples with a norm above the edge; latents above it are outside the prior."""

REACH = 10.0
"""Largest norm of latents outside, in multiples of the edge."""

LABEL_RADIUS = 0.4
"""Conditions farther than this from every retained label do not count as one; of mixtures, those without a weight of
0.72 or more."""

STRAY_WEIGHT = 0.7
"""Weight of grey at an attack that has not shown the class, where no class is to be retained."""

NEAR_SHARPNESS = 8.0
"""Logit of the label from which an attack starts, before noise N(0, 1): nearly all weight of the softmax."""


class AttackPool:
    """Attacks on a generator in training: half maximise the trainer's probability of the class, half match its images.

    Attributes
    ----------
    z, logits : (pool, z_dim), (pool, K); the condition is the softmax of the logits, or the logits themselves where
        `free`, (pool, 1) bool.
    targets : (pool,) int64, the class of each attack.
    found : (pool,) bool, whether the attack has shown the class to the trainer since it was drawn.
    wanted : (pool / 2, C, H, W), images of the class that the second half matches.
    contrast : (pool, 1), factor of the pixel logits before the trainer sees them: from 1 to `settings.contrast`, in
        each half.
    within, beyond : places of replaced attacks that were found: where a class is to be retained, and elsewhere.
    turns : calls of `find` in which each attack of the second half is examined once; the first half is in every call.

    Parameters
    ----------
    start : the generator before forgetting.
    trainer : classifier in evaluation mode: neither the judge that measures nor an attacker of later probes.
    near : places from which a share of the attacks starts, if it has any.
    classes : the forgotten classes.
    generator : source of every draw, on the device that trains.
    """

    def __init__(
        self,
        start: CVAE,
        trainer: Judge,
        near: Buffer,
        settings: HardenSettings,
        classes: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        self.start, self.trainer, self.near, self.settings = start, trainer, near, settings
        self.classes, self.generator = classes, generator
        retained = [c for c in range(start.classes) if c not in classes]
        self.labels = torch.eye(start.classes, device=generator.device)[retained]
        self.climbers = settings.pool - settings.pool // 2
        self.edge = shell(start.z_dim, TAIL)[1]
        place = torch.arange(settings.pool + 1, device=generator.device) * settings.unbounded
        self.free = place.floor().diff().bool()[:, None]
        self.z, self.logits, self.targets, self.rate, self.wanted = self._drawn()
        self.found = torch.zeros(settings.pool, dtype=torch.bool, device=generator.device)
        self.within = Buffer(start.z_dim, start.classes, generator)
        self.beyond = Buffer(start.z_dim, start.classes, generator)
        self.contrast = torch.linspace(1, settings.contrast, self.climbers, device=generator.device)
        self.contrast = self.contrast.repeat(2)[: settings.pool, None]
        self.turns = round(1 / settings.looked_at)
        self._turn = 0

    def find(self, model: CVAE) -> tuple[Tensor, Tensor]:
        """Examine the attacks, recall remembered places, and move every attack for the next step.

        Returns pixel logits (n, C, H, W), with a graph, and their weights of grey (n,): 1 where the class has been
        found, `STRAY_WEIGHT` where the condition is no retained label or the latent is outside the prior, else 0. The
        first `pool` of n are the attacks.

        An attack that has been found stays so until it is replaced: an image that this trainer no longer recognises
        may still show the class to a better classifier.
        """
        self._renew()
        z, logits = self.z.requires_grad_(True), self.logits.requires_grad_(True)
        condition = self._condition(logits)
        pixels = model.decode(z, condition)
        climbing, matching = pixels.split([self.climbers, len(pixels) - self.climbers])
        seen = self._seen(slice(0, self.climbers), climbing)
        loss = (torch.sigmoid(matching) - self.wanted).square().sum() - seen.sum()
        slopes = torch.autograd.grad(loss, [z, logits], retain_graph=True)
        with torch.no_grad():
            self._look(slice(0, self.climbers), seen)
            rows = slice(self.climbers + self._turn % self.turns, len(pixels), self.turns)
            self._look(rows, self._seen(rows, pixels[rows]))
            self._turn += 1
            weight = torch.where(self.found, 1.0, STRAY_WEIGHT * self._stray(condition))
            self._advance(*slopes)
        half = self.settings.remembered // 2
        near_z, near_condition = self.within.recall(half)
        far_z, far_condition = self.beyond.recall(half)
        known = model.decode(torch.cat([near_z, far_z]), torch.cat([near_condition, far_condition]))
        return torch.cat([pixels, known]), torch.cat([weight, weight.new_ones(len(known))])

    def _seen(self, rows: slice, pixels: Tensor) -> Tensor:
        """(m,) the trainer's log-probability of the attacks' classes, from their pixel logits (m, C, H, W)."""
        images = torch.sigmoid(self.contrast[rows, :, None, None] * pixels)
        return self.trainer.log_probs(images).gather(1, self.targets[rows, None]).squeeze(1)

    def _look(self, rows: slice, seen: Tensor) -> None:
        self.found[rows] |= seen.exp() > self.settings.threshold

    def _advance(self, z_slope: Tensor, logits_slope: Tensor) -> None:
        """One signed gradient step of every attack, at its own rate."""
        self.z = self.z.detach() - self.rate * z_slope.sign()
        rate = torch.where(self.free, FREE_RATE * self.rate, self.rate)
        self.logits = self.logits.detach() - rate * logits_slope.sign()

    def _condition(self, logits: Tensor) -> Tensor:
        """Conditions for the decoder, (pool, K)."""
        return torch.where(self.free, logits, logits.softmax(dim=1))

    def _stray(self, condition: Tensor) -> Tensor:
        """(pool,) bool, where no class is to be retained: no retained label, or outside the prior."""
        nearest = torch.cdist(condition, self.labels).amin(dim=1)
        stray: Tensor = (nearest > LABEL_RADIUS) | (self.z.norm(dim=1) > self.edge)
        return stray

    def _renew(self) -> None:
        """Replace a random share of the attacks by new ones; remember the places of those that were found."""
        new = (uniform(self.settings.pool, self.generator) < self.settings.renewed)[:, 0]
        condition = self._condition(self.logits)
        known, stray = new & self.found, self._stray(condition)
        for memory, rows in ((self.within, known & ~stray), (self.beyond, known & stray)):
            memory.store(self.z[rows], condition[rows])
        old = self.z, self.logits, self.targets, self.rate, self.wanted
        self.z, self.logits, self.targets, self.rate, self.wanted = (
            torch.where(new[-len(b) :].view(-1, *[1] * (b.ndim - 1)), b, a)
            for a, b in zip(old, self._drawn(), strict=True)
        )
        self.found = self.found & ~new

    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """New z, logits, targets, rates and wanted images."""
        s, n, generator = self.settings, self.settings.pool, self.generator
        z_dim, classes = self.start.z_dim, self.start.classes
        z = (1 + (s.spread - 1) * uniform(n, generator)) * normal(n, z_dim, generator)
        logits = CONDITION_SPREAD * uniform(n, generator) * normal(n, classes, generator)
        known, label = self.near.recall(n)
        if len(known):
            picked = uniform(n, generator) < s.near
            z = torch.where(picked, known, z)
            logits = torch.where(picked, NEAR_SHARPNESS * label + normal(n, classes, generator), logits)
        logits = torch.where(self.free, logits.softmax(dim=1), logits)
        targets = draw(self.classes, n, generator)
        # Rates from a tenth of the largest: coarse steps explore, fine ones converge.
        rate = s.attack_lr * 10 ** -uniform(n, generator)
        with torch.no_grad():
            wanted = self.start.sample(normal(n - self.climbers, z_dim, generator), targets[self.climbers :])
        return z, logits, targets, rate, wanted


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """(count, 1) of U(0, 1)."""
    return torch.rand((count, 1), generator=generator, device=generator.device)


def normal(count: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, width) of N(0, 1)."""
    return torch.randn(count, width, generator=generator, device=generator.device)


def outside(count: int, z_dim: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places outside the prior: latents (count, z_dim) and conditions (count, K).

    Norms are between the shell's edge, where they are densest, and `REACH` times it. Conditions are free, mixtures of
    labels and labels, in turns.
    """
    norm = shell(z_dim, TAIL)[1] * REACH ** uniform(count, generator).square()
    z = norm * F.normalize(normal(count, z_dim, generator), dim=1)
    logits = uniform(count, generator) * normal(count, classes, generator)
    turn = torch.arange(count, device=generator.device)[:, None] % 3
    label = one_hot(logits.argmax(dim=1), classes)
    bound = torch.where(turn == 1, (CONDITION_SPREAD * logits).softmax(dim=1), label)
    return z, torch.where(turn == 0, FREE_SPREAD * logits, bound)
