"""The resolved settings of training and Fisher loops, the recipes behind them, and their hash.

Each loop takes only its own settings; those of a method are in its module. The hash is the tag `sa.config`, by which
versions are reused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from sa_mlops.parameters import Parameters, number, whole

Schedule = Literal["constant", "one_cycle"]
FisherSource = Literal["recomputed", "accumulated", "base"]
FISHER_SOURCES: tuple[FisherSource, ...] = ("recomputed", "accumulated", "base")
SEED = (0, 2**31 - 1)
"""Least and largest seed."""
Architecture = Literal["reference", "wide", "residual", "perceptron"]


REVISION = {"judge": 1, "base": 1, "fim": 1, "forget": 1}
"""Raise a stage's number when its code changes results: versions made by older code are then not reused."""


def added(default: Any) -> Any:
    """A settings field added after versions were registered: it enters hash and record unless it has its default."""
    return dataclasses.field(default=default, metadata={"added": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """Adam over `steps` batches of `batch_size`; `one_cycle` peaks at `lr`."""

    steps: int
    lr: float
    batch_size: int
    schedule: Schedule


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig(Parameters):
    """Options that override the recipe's optimisation."""

    steps: int | None = whole("training steps", None, 1, 10_000_000)
    lr: float | None = number(
        "learning rate of Adam; the peak of a one-cycle schedule", None, above=0, high=1, search=(3e-4, 3e-2)
    )
    batch_size: int | None = whole("samples per step", None, 2, 65_536)

    def over(self, recipe: Optimisation) -> Optimisation:
        """The recipe with the values that are given."""
        given = {"steps": self.steps, "lr": self.lr, "batch_size": self.batch_size}
        return replace(recipe, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """A generator trained from scratch on the classes in `labels`: all of them, or the retained ones."""

    z_dim: int
    labels: tuple[int, ...]
    optimisation: Optimisation
    net: str = added("mlp")


@dataclass(frozen=True, slots=True, kw_only=True)
class FisherSettings:
    """`samples` draws from the generator itself, labels uniform over `labels`."""

    samples: int
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """A classifier.

    Attributes
    ----------
    architecture : which net of `models.classifiers`.
    calibrated : trained with half a batch of outliers, whose target is uniform, beside every batch of images.
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
"""Role -> classifier. `calibrated` measures, `plain` follows the paper's protocol, recovery probes climb the attackers,
hardening trains against `trainer`. None of the last three shares architecture or seed with the measuring one, nor the
trainer with an attacker."""

BASE_OPTIMISATION: dict[str, Optimisation] = {
    "fast": Optimisation(steps=6_000, lr=3e-3, batch_size=256, schedule="one_cycle"),
    "paper": Optimisation(steps=100_000, lr=1e-4, batch_size=256, schedule="constant"),
}
RECIPES = tuple(BASE_OPTIMISATION)
CONV_OPTIMISATION = Optimisation(steps=4_000, lr=3e-3, batch_size=128, schedule="one_cycle")
"""`fast` for the net `conv`, of which a step costs several times as much."""


def base_optimisation(recipe: str, net: str) -> Optimisation:
    """The optimisation of a generator that is trained from scratch."""
    return CONV_OPTIMISATION if (recipe, net) == ("fast", "conv") else BASE_OPTIMISATION[recipe]


def jsonable(settings: Any) -> dict[str, Any]:
    """The settings (a dataclass or a dict) as plain JSON types, without added fields that have their default."""
    if isinstance(settings, dict):
        return settings
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    for field in dataclasses.fields(settings):
        if "added" in field.metadata and plain[field.name] == field.default:
            del plain[field.name]
    return plain


def fingerprint(stage: str, settings: Any) -> str:
    """Twelve hex digits that change whenever the settings or the stage's code revision do."""
    text = json.dumps([stage, REVISION[stage], jsonable(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
