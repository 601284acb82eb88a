"""The retrained control: the base recipe without the forgotten classes, which the generator then never learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sa_mlops import keys
from sa_mlops.methods.interface import Method, MethodConfig, Needs, Request, StepSettings, Upstream
from sa_mlops.settings import BaseSettings, Optimisation, OptimisationConfig, base_optimisation

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE


@dataclass(frozen=True, kw_only=True)
class RetrainSettings(StepSettings):
    """Training from scratch, resolved."""

    z_dim: int
    net: str
    optimisation: Optimisation

    @property
    def length(self) -> int:
        """Steps of the optimisation."""
        return self.optimisation.steps

    @property
    def key(self) -> keys.Key:
        """The key of the entry point `retrain`: both give the same generator."""
        return keys.base(self.forgotten)


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(OptimisationConfig, MethodConfig):
    """Options of retraining."""

    def resolve(self, step: StepSettings, upstream: Upstream) -> RetrainSettings:
        """Options that are not given come from the recipe of the base."""
        return RetrainSettings(
            **step.shared, z_dim=upstream.z_dim, net=upstream.net,
            optimisation=self.over(base_optimisation(upstream.recipe, upstream.net)),
        )  # fmt: skip


def run(request: Request) -> CVAE:
    """A generator trained from scratch on the retained classes."""
    from sa_mlops.core.training import train_generator

    s, data = request.settings, request.inputs.data
    assert data is not None
    settings = BaseSettings(z_dim=s.z_dim, labels=request.retained, optimisation=s.optimisation, net=s.net)
    return train_generator(
        data.train_images, data.train_labels, data.spec, settings, request.generator,
        report=request.report, on_step=request.on_step,
    )  # fmt: skip


METHOD = Method(
    name="retrain",
    help="train the base recipe from scratch on the retained classes: the control",
    config=RetrainOptions,
    settings=RetrainSettings,
    needs=Needs(data=True),
    target="as retrained",
    run=run,
)
