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
from torch.nn import functional as F

from sa_mlops.core.prior import shell
from sa_mlops.core.training import Report, check_finite, make_optimiser, silent
from sa_mlops.errors import CommandError
from sa_mlops.methods.hardening import HardenSettings
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

MEMORY = 8_192
"""Capacity of a memory, in places; the oldest are overwritten."""

BANK = 32_768
"""Latents in the replay bank, at most."""

CLEAR = 0.3
"""Probability of the forgotten classes, in multiples of chance, at which a move away from them ends."""

MOVE, MOVES = 0.15, 25
"""Length of a step of such a move, in latent units, and the largest number of steps; most images need five."""


class HardeningError(CommandError):
    """Every sample of a retained class looks like a forgotten one, so that it has no image to retain."""

    def __init__(self, name: str, forgotten: tuple[str, ...]) -> None:
        super().__init__(
            f"hardening cannot retain the {name}: every sample shows a forgotten class ({', '.join(forgotten)}) to the"
            " classifier it trains against; check the base and that classifier"
        )


class Memory:
    """The newest `MEMORY` places in latent and condition space.

    Attributes
    ----------
    written : places stored so far.
    """

    def __init__(self, z_dim: int, classes: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.z = torch.zeros(MEMORY, z_dim, device=generator.device)
        self.condition = torch.zeros(MEMORY, classes, device=generator.device)
        self.written = 0

    def store(self, z: Tensor, condition: Tensor) -> None:
        """Store places: latents (m, z_dim) and conditions (m, K); of more than `MEMORY` the last."""
        z, condition = z[-MEMORY:], condition[-MEMORY:]
        rows = (self.written + torch.arange(len(z), device=z.device)) % MEMORY
        self.z[rows], self.condition[rows] = z, condition
        self.written += len(z)

    def recall(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` places with replacement, (count, z_dim), (count, K); none from an empty memory."""
        known = min(self.written, MEMORY)
        size = (count if known else 0,)
        rows = torch.randint(max(known, 1), size, generator=self.generator, device=self.generator.device)
        return self.z[rows], self.condition[rows]


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
        near: Memory,
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
        self.within = Memory(start.z_dim, start.classes, generator)
        self.beyond = Memory(start.z_dim, start.classes, generator)
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
        return log_prob(
            self.trainer, torch.sigmoid(self.contrast[rows, :, None, None] * pixels), self.targets[rows]
        )

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
        """Replace a random share of the attacks by new ones."""
        n, device = self.settings.pool, self.z.device
        replaced = torch.rand((n, 1), generator=self.generator, device=device) < self.settings.renewed
        current = self._condition(self.logits)
        known, stray = replaced[:, 0] & self.found, self._stray(current)
        self.within.store(self.z[known & ~stray], current[known & ~stray])
        self.beyond.store(self.z[known & stray], current[known & stray])
        z, logits, targets, rate, wanted = self._drawn()
        self.z = torch.where(replaced, z, self.z)
        self.logits = torch.where(replaced, logits, self.logits)
        self.targets = torch.where(replaced[:, 0], targets, self.targets)
        self.rate = torch.where(replaced, rate, self.rate)
        self.found = self.found & ~replaced[:, 0]
        self.wanted = torch.where(replaced[self.climbers :, :, None, None], wanted, self.wanted)

    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        s, generator, device = self.settings, self.generator, self.generator.device
        spread = 1 + (s.spread - 1) * torch.rand((s.pool, 1), generator=generator, device=device)
        z = spread * torch.randn(s.pool, self.start.z_dim, generator=generator, device=device)
        sharp = CONDITION_SPREAD * torch.rand((s.pool, 1), generator=generator, device=device)
        logits = sharp * torch.randn(s.pool, self.start.classes, generator=generator, device=device)
        known, condition = self.near.recall(s.pool)
        if len(known):
            picked = torch.rand((s.pool, 1), generator=generator, device=device) < s.near
            noise = torch.randn(s.pool, self.start.classes, generator=generator, device=device)
            z = torch.where(picked, known, z)
            logits = torch.where(picked, NEAR_SHARPNESS * condition + noise, logits)
        logits = torch.where(self.free, logits.softmax(dim=1), logits)
        targets = draw(self.classes, s.pool, generator)
        # Rates from a tenth of the largest: coarse steps explore, fine ones converge.
        rate = s.attack_lr * 10 ** -torch.rand((s.pool, 1), generator=generator, device=device)
        around = torch.randn(s.pool - self.climbers, self.start.z_dim, generator=generator, device=device)
        with torch.no_grad():
            wanted = self.start.sample(around, targets[self.climbers :])
        return z, logits, targets, rate, wanted


def log_prob(judge: Judge, images: Tensor, targets: Tensor) -> Tensor:
    """(n,) log-probability of the classes (n,) in images (n, C, H, W)."""
    return judge.log_probs(images).gather(1, targets[:, None]).squeeze(1)


def outside(count: int, z_dim: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places outside the prior: latents (count, z_dim) and conditions (count, K).

    Norms are between the shell's edge, where they are densest, and `REACH` times it. Conditions are free, mixtures of
    labels and labels, in turns.
    """
    device = generator.device
    edge = shell(z_dim, TAIL)[1]
    norm = edge * REACH ** torch.rand((count, 1), generator=generator, device=device).square()
    z = norm * F.normalize(torch.randn(count, z_dim, generator=generator, device=device), dim=1)
    scale = torch.rand((count, 1), generator=generator, device=device)
    logits = scale * torch.randn(count, classes, generator=generator, device=device)
    turn = torch.arange(count, device=device)[:, None] % 3
    label = one_hot(logits.argmax(dim=1), classes)
    bound = torch.where(turn == 1, (CONDITION_SPREAD * logits).softmax(dim=1), label)
    return z, torch.where(turn == 0, FREE_SPREAD * logits, bound)


class ReplayBank:
    """Latents, retained labels and target images of replay, judged once instead of in every step.

    Attributes
    ----------
    z, labels : (n, z_dim), (n,) int64; n is at most `BANK`.
    images : (n, C, H, W), the decoder's targets: the image of the generator before forgetting where that is
        admissible, else its image at a latent moved until it is. Places where no move helps are left out. A label that
        would lose more than half of its places keeps those below `settings.threshold` without a move.
    moved : number of moved places, the last rows.
    near : places above `settings.threshold`, from which attacks start.

    Raises
    ------
    HardeningError : if a retained label has no place left.
    """

    def __init__(
        self,
        start: CVAE,
        trainer: Judge,
        settings: HardenSettings,
        classes: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        retained = tuple(c for c in range(start.classes) if c not in classes)
        self.generator = generator
        size = min(BANK, settings.optimisation.steps * settings.optimisation.batch_size)
        labels = draw(retained, size, generator)
        spread = torch.rand((size, 1), generator=generator, device=generator.device)
        z = torch.randn(size, start.z_dim, generator=generator, device=generator.device)
        z = z * (1 + (settings.replay_spread - 1) * spread)
        with torch.no_grad():
            images = start.sample(z, labels)
        seen = torch.cat([probability(trainer, some, classes) for some in images.split(1024)])
        self.near = Memory(start.z_dim, start.classes, generator)
        shown = seen > settings.threshold
        self.near.store(z[shown], one_hot(labels[shown], start.classes))
        bad = seen > settings.admissible
        away = move_away(start, trainer, z[bad], labels[bad], classes)
        with torch.no_grad():
            moved = start.sample(away, labels[bad])
        helped = probability(trainer, moved, classes) <= settings.admissible
        kept = ~bad
        for label in labels.unique().tolist():
            own = labels == label
            if (kept & own).sum() + (helped & own[bad]).sum() < own.sum() / 2:
                kept |= own & ~shown
                helped &= ~(own & ~shown)[bad]
            if not (kept & own).any() and not (helped & own[bad]).any():
                raise HardeningError(start.spec.classes[label], start.spec.names(classes))
        self.moved = int(helped.sum())
        self.z = torch.cat([z[kept], z[bad][helped]])
        self.images = torch.cat([images[kept], moved[helped]])
        self.labels = torch.cat([labels[kept], labels[bad][helped]])

    def draw(self, count: int, moved: int) -> tuple[Tensor, Tensor, Tensor]:
        """z, labels and images of `count` rows of all and, if any, `moved` of the moved ones, with replacement."""
        n, device = len(self.z), self.generator.device
        rows = torch.randint(n, (count,), generator=self.generator, device=device)
        if self.moved:
            more = torch.randint(n - self.moved, n, (moved,), generator=self.generator, device=device)
            rows = torch.cat([rows, more])
        return self.z[rows], self.labels[rows], self.images[rows]


def move_away(start: CVAE, trainer: Judge, z: Tensor, labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Latents (m, z_dim) near z whose images show the trainer less of `classes` and more of their labels (m,).

    Normalised gradient descent on the log-odds of the classes against the label: for each latent until its image is
    `CLEAR` of them, `MOVES` steps are made or the gradient vanishes, as it does for an image without any class.
    """
    z, active = z.clone(), torch.arange(len(z), device=z.device)
    for _ in range(MOVES):
        place = z[active].requires_grad_(True)
        log_probs = trainer.log_probs(start.sample(place, labels[active]))
        seen = log_probs[:, list(classes)].logsumexp(dim=1)
        own = log_probs.gather(1, labels[active, None]).squeeze(1)
        slope = torch.autograd.grad((seen - own).sum(), place)[0]
        going = (seen.detach().exp() > CLEAR / start.classes) & (slope.norm(dim=1) > 1e-3)
        if not going.any():
            break
        active = active[going]
        z[active] -= MOVE * F.normalize(slope[going], dim=1)
    return z


@torch.no_grad()
def probability(trainer: Judge, images: Tensor, classes: tuple[int, ...]) -> Tensor:
    """(m,) the trainer's largest probability of a forgotten class in images (m, C, H, W)."""
    return trainer.log_probs(images).exp()[:, list(classes)].amax(dim=1)


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
