"""Settings of distillation, a phase that may follow any method; the phase itself is in `training`."""

from __future__ import annotations

from dataclasses import dataclass

from sa_mlops.parameters import Parameters, flag, number, whole
from sa_mlops.settings import Optimisation


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilSettings:
    """Distillation of a generator's outputs into a student.

    Attributes
    ----------
    noise : share of the student's weights that is reinitialised before training; 1 keeps nothing of the teacher's.
    """

    optimisation: Optimisation
    noise: float


@dataclass(frozen=True, kw_only=True)
class DistilConfig(Parameters):
    """Options of distillation."""

    distil: bool = flag("distil what the labels draw into a net with new or noised weights, after the method")
    distil_noise: float = number(
        "share of the student's weights that is reinitialised before distillation; 1 reinitialises all of them",
        1.0,
        low=0,
        high=1,
    )
    distil_steps: int = whole("training steps of distillation", 12_000, 1, 10_000_000)
    distil_lr: float = number("peak learning rate of distillation", 5e-3, above=0, high=1)

    @property
    def distillation(self) -> DistilSettings | None:
        """The settings of the phase; None without one."""
        if not self.distil:
            return None
        optimisation = Optimisation(
            steps=self.distil_steps, lr=self.distil_lr, batch_size=128, schedule="one_cycle"
        )
        return DistilSettings(optimisation=optimisation, noise=self.distil_noise)
