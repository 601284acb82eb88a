"""What decides a result: the resolved numbers of every component, and the two recipes they come from.

Each component takes only its own settings. Their hash is the tag `sa.config`, by which versions are reused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Schedule = Literal["constant", "one_cycle"]
Update = Literal["standard", "projected", "alternating"]
FisherSource = Literal["recomputed", "accumulated", "base"]
FISHER_SOURCES = ("recomputed", "accumulated", "base")
Architecture = Literal["reference", "wide", "residual", "perceptron"]

CLASSES = 10
PIXELS = 28 * 28

REVISION = {"judge": 1, "base": 1, "fim": 1, "forget": 1}
"""Raise a stage's number when its code changes results: versions made by older code are then not reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """Adam over `steps` batches of `batch_size`; `one_cycle` peaks at `lr`."""

    steps: int
    lr: float
    batch_size: int
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """A generator trained from scratch on the classes in `labels` (an oracle leaves some out); `net` as in `models`."""

    z_dim: int
    labels: tuple[int, ...]
    optimisation: Optimisation
    net: str = "mlp"


@dataclass(frozen=True, slots=True, kw_only=True)
class FisherSettings:
    """`samples` draws from the generator itself, labels uniform over `labels`."""

    samples: int
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardenSettings:
    """Adversarial forgetting: a pool of latents and conditions that are driven towards the class (`core.hardening`).

    Attributes
    ----------
    optimisation : the outer loop; `batch_size` replayed samples a step.
    retain_weight : mean weight of the squared error that holds the retained classes; it grows over the steps.
    replay_spread : replayed latents are N(0, s^2 I) with s uniform in [1, replay_spread].
    admissible : a replayed image is moved if the trainer sees a forgotten class with more than this probability: just
        under 0.1, its answer to what it does not recognise, which may still be the class to another classifier.
    moved : further samples a step, replayed where images had to be moved.
    pool : attacks kept alive between outer steps.
    attack_lr : largest step of an attack, in latent units; each takes one before an outer step.
    renewed : share of the pool drawn anew at each outer step.
    contrast : the trainer sees an attack's image with its pixel logits multiplied by up to this; 1 or more.
    looked_at : share of the attacks after images that the trainer looks at in each outer step, in turns; those that
        climb it are looked at as they do.
    threshold : the trainer's probability above which the decoder's output is pulled to grey; above 0.1, its answer
        to grey.
    spread : attacks start from N(0, s^2 I) with s uniform in [1, spread].
    near : share of the attacks that start where the class looks through a retained label instead.
    unbounded : share of the attacks whose condition is free, no softmax of logits.
    remembered : places of earlier attacks that each outer step rehearses.
    outside : places outside the prior at which each outer step pulls every class to grey.
    """

    optimisation: Optimisation
    retain_weight: float
    replay_spread: float
    admissible: float
    moved: int
    pool: int
    attack_lr: float
    renewed: float
    contrast: float
    looked_at: float
    threshold: float
    spread: float
    near: float
    unbounded: float
    remembered: int
    outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSettings:
    """One step of amnesia.

    Attributes
    ----------
    forget : classes to forget now.
    earlier : classes forgotten in earlier steps; never replayed, re-taught with share `reteach`.
    optimisation : the outer loop.
    ewc_lambda : weight of sum F (theta - theta0)^2 against losses that are summed over the batch.
    replay_ratio : replayed samples per surrogate sample.
    decoder_terms : adds both terms where samples are drawn from, decoder(z ~ N(0, I), c).
    distillation : weight of that term on the replay side, where the frozen decoder teaches the trained one.
    surrogate : `noise` (U[0, 1] pixels), `grey` (0.5), or `images` (a user's, whose hash is `surrogate_md5`).
    update : how the gradients of forgetting and of remembering are combined.
    reteach : share of surrogate samples that carry an earlier class.
    harden : adversarial forgetting, or None.
    fisher_source : `recomputed` on the generator the step starts from, `accumulated` over the steps, or of the `base`.
    """

    forget: tuple[int, ...]
    earlier: tuple[int, ...]
    optimisation: Optimisation
    ewc_lambda: float
    replay_ratio: float
    decoder_terms: bool
    surrogate: Literal["noise", "grey", "images"]
    surrogate_md5: str | None
    update: Update
    reteach: float
    harden: HardenSettings | None
    fisher_source: FisherSource = "recomputed"
    distillation: float = 1.0

    def retained(self, classes: int) -> tuple[int, ...]:
        """Of `classes` classes those that are replayed: neither forgotten nor being forgotten."""
        return tuple(c for c in range(classes) if c not in self.forget + self.earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """A classifier; `calibrated` adds outlier exposure (see `core.judging`).

    Attributes
    ----------
    architecture : which net of `models.judge`.
    calibrated : half a batch of outliers whose target is uniform beside every batch of digits.
    epochs, lr, batch_size : Adam with one cycle.
    seed_offset : added to the run's seed, so that no two judges share one.
    """

    architecture: Architecture
    calibrated: bool
    epochs: int
    lr: float
    batch_size: int
    seed_offset: int


JUDGES: dict[str, JudgeSettings] = {
    "calibrated": JudgeSettings(
        architecture="wide", calibrated=True, epochs=4, lr=3e-3, batch_size=256, seed_offset=1_000
    ),
    "plain": JudgeSettings(
        architecture="reference", calibrated=False, epochs=6, lr=1e-2, batch_size=256, seed_offset=2_000
    ),
    "attacker_calibrated": JudgeSettings(
        architecture="perceptron", calibrated=True, epochs=6, lr=3e-3, batch_size=256, seed_offset=3_000
    ),
    "attacker_plain": JudgeSettings(
        architecture="residual", calibrated=False, epochs=3, lr=3e-3, batch_size=256, seed_offset=4_000
    ),
    "trainer": JudgeSettings(
        architecture="reference", calibrated=True, epochs=6, lr=3e-3, batch_size=256, seed_offset=5_000
    ),
}
"""Role -> judge. `calibrated` measures; `plain` is there for the paper's protocol; the attackers are what recovery
probes climb, the trainer is what hardening trains against: none of them has the architecture or the seed of the judge
that decides, nor the trainer those of an attacker."""

Recipe = Literal["fast", "paper"]

BASE_OPTIMISATION: dict[str, Optimisation] = {
    "fast": Optimisation(steps=6_000, lr=3e-3, batch_size=256, schedule="one_cycle"),
    "paper": Optimisation(steps=100_000, lr=1e-4, batch_size=256, schedule="constant"),
}
FORGET_OPTIMISATION: dict[str, Optimisation] = {
    "fast": Optimisation(steps=400, lr=5e-3, batch_size=256, schedule="one_cycle"),
    "paper": Optimisation(steps=10_000, lr=1e-4, batch_size=256, schedule="constant"),
}
DISTILLATION = 30.0
"""At 1, 300 steps cost the retained classes a third of their FID, at 20 a few percent; forgetting is as complete."""
EWC_LAMBDA: dict[str, float] = {"fast": 10.0, "paper": 100.0}
HARDEN = HardenSettings(
    optimisation=Optimisation(steps=1_800, lr=7e-3, batch_size=512, schedule="one_cycle"),
    retain_weight=42.0,
    replay_spread=1.3,
    admissible=0.09,
    moved=128,
    pool=256,
    attack_lr=0.4,
    renewed=0.04,
    contrast=3.0,
    looked_at=0.25,
    threshold=0.12,
    spread=4.0,
    near=0.5,
    unbounded=0.3,
    remembered=256,
    outside=128,
)


def jsonable(settings: Any) -> dict[str, Any]:
    """The settings as plain JSON types."""
    fields = dict(settings) if isinstance(settings, dict) else dataclasses.asdict(settings)
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return plain


def fingerprint(stage: str, settings: Any) -> str:
    """Twelve hex digits that change whenever the settings or the stage's code revision do."""
    fields = jsonable(settings)
    if fields.get("net") == "mlp":
        # Versions from before nets had names are reused.
        del fields["net"]
    text = json.dumps([stage, REVISION[stage], fields], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
