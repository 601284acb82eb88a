"""Settings of hardening, the second phase that may follow any method; the phase itself is in `training`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sa_mlops.parameters import Parameters, flag, number
from sa_mlops.settings import Optimisation


@dataclass(frozen=True, slots=True, kw_only=True)
class HardenSettings:
    """Adversarial training of the decoder against a pool of attacks on latent and condition.

    Attributes
    ----------
    optimisation : the outer loop; `batch_size` replayed samples a step.
    retain_weight : mean weight of the squared error on the retained classes; it grows over the steps.
    replay_spread : replayed latents are N(0, s^2 I) with s uniform in [1, replay_spread].
    admissible : largest probability of a forgotten class, to the classifier, in a replayed image that is not moved.
    moved : further samples a step, replayed where images had to be moved.
    pool : attacks kept alive between outer steps.
    attack_lr : largest step of an attack, in latent units; each takes one before an outer step.
    renewed : share of the pool that is redrawn at each outer step.
    contrast : pixel logits of an attack's image are multiplied by up to this before the classifier sees it; 1 or more.
    looked_at : share of the image-matching attacks that the classifier examines in each outer step, in turns.
    threshold : the classifier's probability above which an attack has found the class and its output is pulled to grey.
    spread : attacks start from N(0, s^2 I) with s uniform in [1, spread].
    near : share of the attacks that start where a retained label already shows the class.
    unbounded : share of the attacks whose condition is free, instead of a softmax of logits.
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


RETAIN_WEIGHT = 42.0


def recipe(classes: int) -> HardenSettings:
    """The measured settings for K = `classes`.

    `admissible` and `threshold` are just below and above chance, 1/K: a calibrated classifier's answer to an image that
    shows no class.
    """
    return HardenSettings(
        optimisation=Optimisation(steps=1_800, lr=7e-3, batch_size=512, schedule="one_cycle"),
        retain_weight=RETAIN_WEIGHT, replay_spread=1.3, admissible=0.9 / classes, moved=128, pool=256, attack_lr=0.4,
        renewed=0.04, contrast=3.0, looked_at=0.25, threshold=1.2 / classes, spread=4.0, near=0.5, unbounded=0.3,
        remembered=256, outside=128
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HardenConfig(Parameters):
    """Options of hardening."""

    harden: bool = flag("fine-tune the decoder so that no attack in the pool recovers a forgotten class")
    harden_retain: float = number(
        "weight of the retained classes while hardening: a smaller one resists attacks better and costs image quality",
        RETAIN_WEIGHT, low=1, high=1e6
    )  # fmt: skip

    def hardening(self, classes: int) -> HardenSettings | None:
        """The settings of the second phase for a data set of `classes` classes; None without one."""
        return replace(recipe(classes), retain_weight=self.harden_retain) if self.harden else None
