"""The interface of the recovery probes: their input, their result, and the judge of their success.

A probe searches a generator's latents and conditions for the forgotten class. It may query attackers, classifiers of
its own, but not the judge that decides afterwards: `run` refuses a judge with an attacker's architecture or seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sa_mlops.core.training import Report, silent
from sa_mlops.core.views import autolevels
from sa_mlops.datasets.spec import Images
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, one_hot

SUCCESS = 0.5
"""The judge's probability of the class above which an attempt counts as a success."""

STRIPS = 10
"""Attempts whose whole path a result keeps as images."""

Role = Literal["calibrated", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A trained classifier and the seed of its training.

    Attributes
    ----------
    net : in evaluation mode.
    seed : of its initial weights and batches.
    """

    net: Judge
    seed: int


def check_independent(attacker: Classifier, judge: Classifier) -> None:
    """Refuse a judge that shares its architecture or its seed with an attacker: it would share its errors.

    Raises ValueError, naming the shared property.
    """
    kind = judge.net.architecture
    if attacker.net.architecture == kind:
        raise ValueError(f"attacker and judge share the architecture {kind!r}: choose another attacker")
    if attacker.seed == judge.seed:
        raise ValueError(f"attacker and judge share the seed {judge.seed}: choose another attacker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Budget of an attack.

    Attributes
    ----------
    attempts : restarts, all in one batch.
    steps : updates of each attempt (frames of a walk); 0 where nothing is optimised.
    lr : learning rate or step size in latent units, where there is one.
    """

    attempts: int = 200
    steps: int = 0
    lr: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Input of every probe. All tensors and nets are on one device.

    Attributes
    ----------
    model : the generator under attack.
    base : the generator before forgetting; only attackers of level A6 have it.
    target : index of the class to recover.
    neighbours : the two classes that look most like it (see `core.probes.neighbours`).
    images, labels : real images (m, C, H, W) in [0, 1] of all classes, and their classes (m,).
    attackers : classifiers whose probability of the class the optimising probes maximise.
    report : receives `loss` after each step of an optimising probe.
    forgotten : indices of all classes that are not retained; `target` always counts as one.
    """

    model: CVAE
    base: CVAE
    target: int
    neighbours: tuple[int, int]
    images: Images
    labels: Tensor
    attackers: Mapping[Role, Classifier]
    report: Report = silent
    forgotten: tuple[int, ...] = ()

    @property
    def retained(self) -> tuple[int, ...]:
        """Indices of the retained classes."""
        return tuple(c for c in range(self.model.classes) if c not in (self.target, *self.forgotten))

    def latents(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, z_dim) of the prior, N(0, I)."""
        return torch.randn(count, self.model.z_dim, generator=generator, device=generator.device)

    def condition(self, label: int, count: int) -> Tensor:
        """(count, K), the one-hot of a class in every row."""
        return one_hot(torch.full((count,), label, device=self.labels.device), self.model.classes)

    def real(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        """`count` real images (count, C, H, W) of a class, drawn with replacement.

        Raises ValueError if the class has none.
        """
        rows = (self.labels == label).nonzero().flatten()
        if not len(rows):
            raise ValueError(f"no real image of class {label}")
        picks = torch.randint(len(rows), (count,), generator=generator, device=generator.device)
        return self.images[rows[picks]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """n attempts at k positions of a budget or of a path.

    Attributes
    ----------
    positions : k numbers in ascending order: steps spent, frames, or scales.
    z : (k, n, z_dim).
    condition : (k, n, K), as the decoder receives it.
    counts : an attempt succeeds by its `last` position (a search that kept its best) or by `any` (a walk).
    loss : (steps,) the attack's own loss, mean over attempts; empty where nothing is optimised.
    wanted : (n, C, H, W) images that the attempts tried to reproduce, or None.
    """

    positions: tuple[float, ...]
    z: Tensor
    condition: Tensor
    counts: Literal["last", "any"]
    loss: Tensor = field(default_factory=lambda: torch.empty(0))
    wanted: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(ABC):
    """A method of recovering a class, with its default budget."""

    budget: Budget = Budget()

    def roles(self) -> Sequence[Role]:
        """Roles of the attackers that it needs."""
        return ()

    @abstractmethod
    def attack(self, scene: Scene, budget: Budget, generator: torch.Generator) -> Attempts:
        """All attempts; the random generator alone decides them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """A probe's attempts under the independent judge; n attempts, k positions.

    Attributes
    ----------
    images : (n, C, H, W) in [0, 1], the deciding image of each attempt.
    z, condition : (n, z_dim), (n, K), its latent and condition.
    probability : (n,) judge's probability of the class.
    choice : (n,) int64, judge's first choice.
    success : (n,) bool, probability above one half in either view (`core.views`).
    success_as_is, success_autolevels : (n,) bool, in each view.
    positions : (k,) steps spent, frames or scales.
    trace : (k, n) judge's probability at each position.
    strips : (k, s, C, H, W) images along the path of the first attempts.
    strip_answers : (k, s, K) judge's probabilities of them.
    loss : (steps,) the attack's own loss.
    z_norm : (n,) Euclidean; sqrt(z_dim) is typical of the prior.
    condition_mass : (n,) sum of absolute weights, 1 for a class label.
    condition_weight : (n,) weight on the class.
    pixel_error : (n,) mean squared error against the wanted image, or None.
    """

    images: Tensor
    z: Tensor
    condition: Tensor
    probability: Tensor
    choice: Tensor
    success: Tensor
    success_as_is: Tensor
    success_autolevels: Tensor
    positions: tuple[float, ...]
    trace: Tensor
    strips: Tensor
    strip_answers: Tensor
    loss: Tensor
    z_norm: Tensor
    condition_mass: Tensor
    condition_weight: Tensor
    pixel_error: Tensor | None

    @property
    def rate(self) -> float:
        """Share of attempts that succeed."""
        return float(self.success.double().mean())

    @property
    def curve(self) -> tuple[float, ...]:
        """Share of attempts that the judge accepts at each position."""
        return tuple((self.trace > SUCCESS).double().mean(dim=1).tolist())


def run(
    probe: Probe,
    scene: Scene,
    judge: Classifier,
    generator: torch.Generator,
    *,
    budget: Budget | None = None,
) -> ProbeResult:
    """Attack, then let the judge decide.

    Raises ValueError if the judge shares architecture or seed with an attacker, an attacker is missing or the budget
    has no attempts.

    Parameters
    ----------
    generator : source of every draw; the same seed gives the same starts against any generator under attack.
    budget : instead of the probe's default.
    """
    budget = budget or probe.budget
    if budget.attempts < 1:
        raise ValueError(f"attempts must be 1 or more, not {budget.attempts}")
    for role in probe.roles():
        if role not in scene.attackers:
            raise ValueError(f"no {role} attacker: this probe needs one")
        check_independent(scene.attackers[role], judge)
    return judged(scene, probe.attack(scene, budget, generator), judge.net)


@torch.no_grad()
def scored(judge: Judge, images: Tensor) -> Tensor:
    """The judge's probabilities (n, K) of images (n, C, H, W) in the worse view; every attack is scored here."""
    return torch.maximum(*views(judge, images))


@torch.no_grad()
def views(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor]:
    """The judge's probabilities (n, K) of images as they are, and with automatic levels."""
    return judge.log_probs(images).exp(), judge.log_probs(autolevels(images)).exp()


@torch.no_grad()
def judged(scene: Scene, attempts: Attempts, judge: Judge) -> ProbeResult:
    """The judge's answers at every position of every attempt."""
    k, n = attempts.z.shape[:2]
    answers, strips = [], []
    for z, condition in zip(attempts.z, attempts.condition, strict=True):
        images = torch.sigmoid(scene.model.decode(z, condition))
        answers.append(scored(judge, images))
        strips.append(images[:STRIPS])
    probs = torch.stack(answers)
    trace = probs[..., scene.target]

    rows = torch.arange(n, device=trace.device)
    best = trace.argmax(dim=0) if attempts.counts == "any" else torch.full_like(rows, k - 1)
    z, condition = attempts.z[best, rows], attempts.condition[best, rows]
    images = torch.sigmoid(scene.model.decode(z, condition))
    as_is, leveled = views(judge, images)
    wanted = attempts.wanted
    return ProbeResult(
        images=images,
        z=z,
        condition=condition,
        probability=trace[best, rows],
        choice=probs[best, rows].argmax(dim=1),
        success=trace[best, rows] > SUCCESS,
        success_as_is=as_is[:, scene.target] > SUCCESS,
        success_autolevels=leveled[:, scene.target] > SUCCESS,
        positions=attempts.positions,
        trace=trace,
        strips=torch.stack(strips),
        strip_answers=probs[:, :STRIPS],
        loss=attempts.loss,
        z_norm=z.norm(dim=1),
        condition_mass=condition.abs().sum(dim=1),
        condition_weight=condition[:, scene.target],
        pixel_error=None if wanted is None else (images - wanted).square().flatten(1).mean(dim=1),
    )


def union(results: Sequence[ProbeResult]) -> Tensor:
    """(n,) bool: whether the i-th attempt of any probe succeeded.

    Raises ValueError without results, or with different numbers of attempts.
    """
    sizes = {len(r.success) for r in results}
    if len(sizes) != 1:
        raise ValueError(f"probes with one number of attempts can be united, not with {sorted(sizes)}")
    return torch.stack([r.success for r in results]).any(dim=0)


def checkpoints(steps: int) -> tuple[int, ...]:
    """Steps at which a search is evaluated: 0, 1, 2, 5, 10, ... and `steps`."""
    marks = {0, steps} | {m * 10**e for e in range(7) for m in (1, 2, 5)}
    return tuple(sorted(m for m in marks if m <= steps))
