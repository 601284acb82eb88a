"""Selective Amnesia (Heng and Soh, NeurIPS 2023, arXiv:2305.10120): surrogate images, replay and a Fisher penalty.

Options and settings are here, the training loop in `training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sa_mlops.methods.interface import Method, MethodConfig, Needs, Request, StepSettings, Target, Upstream
from sa_mlops.parameters import ParameterError, choice, number, text
from sa_mlops.settings import FisherSource, Optimisation, OptimisationConfig

if TYPE_CHECKING:
    from sa_mlops.models.interface import CVAE

Update = Literal["standard", "projected", "alternating"]
UPDATES: tuple[Update, ...] = ("standard", "projected", "alternating")

OPTIMISATION: dict[str, Optimisation] = {
    "fast": Optimisation(steps=400, lr=5e-3, batch_size=256, schedule="one_cycle"),
    "paper": Optimisation(steps=10_000, lr=1e-4, batch_size=256, schedule="constant"),
}
CONV_OPTIMISATION = Optimisation(steps=600, lr=1e-2, batch_size=128, schedule="one_cycle")
"""`fast` for the net `conv`: its label embeddings must move far, and Adam moves a weight by about `lr` a step. On
tinted letters 400 steps at 5e-3 cost the retained classes 9 % of their FID, and these 3 %."""
EWC_LAMBDA: dict[str, float] = {"fast": 10.0, "paper": 100.0}
DISTILLATION = 30.0
"""At 1, 300 steps cost the retained classes a third of their FID, at 20 a few percent; forgetting is as complete."""


def optimisation(recipe: str, net: str) -> Optimisation:
    """The optimisation of a step that starts from a generator of the net `net`."""
    return CONV_OPTIMISATION if (recipe, net) == ("fast", "conv") else OPTIMISATION[recipe]


@dataclass(frozen=True, kw_only=True)
class ForgetSettings(StepSettings):
    """Selective Amnesia, resolved.

    Attributes
    ----------
    earlier : never replayed, and re-taught the surrogate with share `reteach`.
    ewc_lambda : weight of sum F (theta - theta0)^2 against losses that are summed over the batch.
    replay_ratio : replayed samples per surrogate sample.
    decoder_terms : adds both loss terms where samples are drawn from, decoder(z ~ N(0, I), c).
    surrogate : `noise` (U[0, 1] pixels), `grey` (0.5), or `images` (the user's, whose hash is `surrogate_md5`).
    update : how the gradients of forgetting and of retaining are combined.
    reteach : share of surrogate samples that carry an earlier class.
    fisher_source : of the generator the step starts from, accumulated over the steps, or of the base.
    distillation : weight of the decoder term on the replay side, against the frozen decoder.
    """

    optimisation: Optimisation
    ewc_lambda: float
    replay_ratio: float
    decoder_terms: bool
    surrogate: Literal["noise", "grey", "images"]
    surrogate_md5: str | None
    update: Update
    reteach: float
    fisher_source: FisherSource = "recomputed"
    distillation: float = 1.0

    @property
    def length(self) -> int:
        """Steps of the optimisation."""
        return self.optimisation.steps

    @property
    def target(self) -> Target:
        """Noise, or grey if that is the surrogate or the step is hardened."""
        return "grey" if self.harden or self.surrogate == "grey" else "noise"


@dataclass(frozen=True, kw_only=True)
class AmnesiaConfig(OptimisationConfig, MethodConfig):
    """Options of Selective Amnesia."""

    ewc_lambda: float | None = number(
        "weight of the EWC penalty, lambda * sum F (theta - theta0)^2, without a factor 1/2",
        None,
        low=0,
        high=1e12,
        search=(1e-1, 1e5),
    )
    replay_ratio: float = number(
        "replayed samples per surrogate sample in one step", 1.0, above=0, high=64, search=(1 / 16, 2.0)
    )
    surrogate: str = text(
        "image that replaces a forgotten class: noise (U[0, 1] pixels), grey (0.5) or a folder of images",
        "noise",
        search=("noise", "grey"),
    )
    update: str = choice(
        "combination of the gradients of forgetting and retaining: their sum, a symmetric projection of conflicting "
        "gradients, or alternating steps",
        UPDATES,
        "standard",
        search=UPDATES,
    )
    reteach: float = number(
        "share of surrogate samples that carry a class forgotten in an earlier step", 0.25, low=0, high=0.9
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images is not None and not self.images.is_dir():
            allowed = f"noise, grey or an existing folder of images (relative to {Path.cwd()})"
            raise ParameterError("surrogate", self.surrogate, allowed)

    @property
    def images(self) -> Path | None:
        """The folder of surrogate images."""
        return None if self.surrogate in ("noise", "grey") else Path(self.surrogate)

    def resolve(self, step: StepSettings, upstream: Upstream) -> ForgetSettings:
        """Options that are not given come from the recipe."""
        return ForgetSettings(
            **step.shared,
            optimisation=self.over(optimisation(upstream.recipe, upstream.net)),
            ewc_lambda=EWC_LAMBDA[upstream.recipe] if self.ewc_lambda is None else self.ewc_lambda,
            replay_ratio=self.replay_ratio,
            decoder_terms=upstream.recipe == "fast",
            surrogate="images" if self.images else self.surrogate,  # type: ignore[arg-type]
            surrogate_md5=upstream.images_md5,
            update=self.update,  # type: ignore[arg-type]
            reteach=self.reteach if step.earlier else 0.0,
            fisher_source=upstream.fisher_source,  # type: ignore[arg-type]
            distillation=DISTILLATION,
        )


def run(request: Request) -> CVAE:
    """A new generator that has forgotten the classes."""
    from sa_mlops.methods.selective_amnesia.training import forget

    return forget(
        request.start, dict(request.inputs.fisher), request.settings, request.generator,
        surrogate_images=request.inputs.images, report=request.report, on_step=request.on_step,
    )  # fmt: skip


METHOD = Method(
    name="selective-amnesia",
    help="train the class towards a surrogate image, replay the retained classes, hold weights by a Fisher penalty",
    config=AmnesiaConfig,
    settings=ForgetSettings,
    needs=Needs(fisher=True),
    target="noise",
    run=run,
)
