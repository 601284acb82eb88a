"""Settings of methods that train towards a target on the class and keep the rest; the loop is in `training`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sa_mlops.methods.interface import MethodSettings, StepSettings, Upstream
from sa_mlops.methods.selective_amnesia import optimisation
from sa_mlops.parameters import number
from sa_mlops.settings import Optimisation, OptimisationConfig, Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(OptimisationConfig, MethodSettings):
    """Options of a method that trains; those that are not given are those of Selective Amnesia's recipe."""

    schedule: Schedule = "one_cycle"

    @property
    def optimisation(self) -> Optimisation:
        """The settings of the optimiser, once they are resolved."""
        assert self.steps is not None
        assert self.lr is not None
        assert self.batch_size is not None
        return Optimisation(steps=self.steps, lr=self.lr, batch_size=self.batch_size, schedule=self.schedule)

    def resolve(self, step: StepSettings, upstream: Upstream) -> Self:
        """See `MethodConfig.resolve`."""
        o = self.over(optimisation(upstream.recipe, upstream.net))
        return replace(
            self, **step.shared, steps=o.steps, lr=o.lr, batch_size=o.batch_size, schedule=o.schedule
        )


@dataclass(frozen=True, kw_only=True)
class WeightedSettings(TrainingSettings):
    """Options of a method whose loss is that of the class plus `retain_weight` times that of the others."""

    RETAIN_WEIGHT: ClassVar[float] = 10.0

    retain_weight: float | None = number(
        "weight of the retained classes' loss against that of the class to forget", None, above=0, high=1e6,
        search=(0.3, 300),
    )  # fmt: skip

    def resolve(self, step: StepSettings, upstream: Upstream) -> Self:
        """See `MethodConfig.resolve`."""
        weight = self.RETAIN_WEIGHT if self.retain_weight is None else self.retain_weight
        return replace(super().resolve(step, upstream), retain_weight=weight)
