"""Settings of distillation, a phase that may follow any method; the phase itself is in `training`."""

from __future__ import annotations

from dataclasses import dataclass

from sa_mlops.parameters import Parameters, flag, number, whole
from sa_mlops.settings import Optimisation, added

BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilSettings:
    """Distillation of a generator's outputs into a student.

    Attributes
    ----------
    noise : share of the student's weights that is reinitialised before training; 1 keeps nothing of the teacher's.
    places : further samples a step, at latents and conditions where a hardened teacher is grey.
    """

    optimisation: Optimisation
    noise: float
    places: int = added(0)


@dataclass(frozen=True, kw_only=True)
class DistilConfig(Parameters):
    """Options of distillation."""

    distil: bool = flag(
        "distil what the labels draw into a net with new or noised weights, after the method and hardening"
    )
    distil_noise: float = number(
        "share of the student's weights that is reinitialised before distillation; 1 reinitialises all of them",
        1.0,
        low=0,
        high=1,
    )
    distil_steps: int = whole("training steps of distillation", 12_000, 1, 10_000_000)
    distil_lr: float = number("peak learning rate of distillation", 5e-3, above=0, high=1)

    def distillation(self, *, hardened: bool) -> DistilSettings | None:
        """The settings of the phase for a teacher that was hardened or not; None without one."""
        if not self.distil:
            return None
        optimisation = Optimisation(
            steps=self.distil_steps, lr=self.distil_lr, batch_size=BATCH, schedule="one_cycle"
        )
        return DistilSettings(
            optimisation=optimisation, noise=self.distil_noise, places=BATCH if hardened else 0
        )
