"""Entry points and their parameters, defined once for MLproject, the CLI, MLflow params, the TUI and README."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sa_mlops import settings as s
from sa_mlops.parameters import Parameter, ParameterError, Parameters, param


@dataclass(frozen=True, kw_only=True)
class RunConfig(Parameters):
    """What every stage takes."""

    dataset: str = param(
        Parameter(
            help="images: mnist is pinned by data.dvc, digits is scikit-learn's scaled to 28x28 (for tests and demos)",
            kind="choice",
            choices=("mnist", "digits"),
            default="mnist",
            group="where",
        )
    )
    seed: int = param(
        Parameter(help="seeds everything", kind="int", low=0, high=2**31 - 1, default=0, group="where")
    )
    device: str = param(
        Parameter(help="auto, cpu, cuda, cuda:N or mps", kind="text", default="auto", group="where")
    )
    fresh: bool = param(
        Parameter(
            help="make every version anew instead of reusing", kind="bool", default=False, group="where"
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        words = ("auto", "cpu", "cuda", "mps")
        if self.device not in words and not (self.device.startswith("cuda:") and self.device[5:].isdecimal()):
            raise ParameterError("device", self.device, "auto, cpu, cuda, cuda:N or mps")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(RunConfig):
    """Stages that train or measure a generator."""

    recipe: str = param(
        Parameter(
            help="fast: full quality in minutes on two CPU cores; paper: the reference's steps, rates and objective",
            kind="choice",
            choices=("fast", "paper"),
            default="fast",
        )
    )
    z_dim: int = param(Parameter(help="latent size", kind="int", low=1, high=256, default=8))


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig(Parameters):
    """Overrides of the recipe's outer loop."""

    steps: int | None = param(
        Parameter(help="training steps", kind="int", low=1, high=10_000_000, default=None)
    )
    lr: float | None = param(
        Parameter(help="(peak) learning rate of Adam", kind="float", above=0, high=1, default=None)
    )
    batch_size: int | None = param(
        Parameter(help="samples a step", kind="int", low=2, high=65_536, default=None)
    )

    def over(self, recipe: s.Optimisation) -> s.Optimisation:
        """The recipe with what is set here in its place."""
        given = {"steps": self.steps, "lr": self.lr, "batch_size": self.batch_size}
        return replace(recipe, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class FromVersionConfig(Parameters):
    """Stages that start from a registered generator."""

    from_version: str = param(
        Parameter(
            help="generator to start from: a version number or an alias; auto is the base",
            kind="text",
            default="auto",
            group="what",
        )
    )


@dataclass(frozen=True, kw_only=True)
class VersionConfig(Parameters):
    """Stages that look at a registered generator."""

    version: str = param(
        Parameter(
            help="generator to look at: a version number or an alias",
            kind="text",
            default="latest",
            group="what",
        )
    )


@dataclass(frozen=True, kw_only=True)
class FisherConfig(Parameters):
    """Fisher diagonal."""

    fisher_samples: int = param(
        Parameter(
            help="samples behind the Fisher diagonal", kind="int", low=1, high=10_000_000, default=50_000
        )
    )


@dataclass(frozen=True, kw_only=True)
class ClassesConfig(Parameters):
    """The classes to leave out or to forget."""

    digit: int = param(Parameter(help="class to forget", kind="int", low=0, high=9, default=1, group="what"))
    digits: tuple[int, ...] = param(
        Parameter(
            help="several classes to forget at once; overrides digit",
            kind="digits",
            low=0,
            high=9,
            empty=True,
            default=(),
            group="what",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_all_ten(self.digits)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes meant: `digits`, or `digit` where those are not given."""
        return tuple(sorted(self.digits)) or (self.digit,)


def refuse_all_ten(digits: tuple[int, ...]) -> None:
    """Raise ParameterError if no class would be left to retain."""
    if len(digits) >= s.CLASSES:
        raise ParameterError(
            "digits", ",".join(map(str, digits)), "at most nine digits, so that one is retained"
        )


@dataclass(frozen=True, kw_only=True)
class AmnesiaConfig(Parameters):
    """How to forget."""

    ewc_lambda: float | None = param(
        Parameter(
            help="weight of the EWC penalty, lambda * sum F (theta - theta0)^2, no 1/2",
            kind="float",
            low=0,
            high=1e12,
            default=None,
        )
    )
    replay_ratio: float = param(
        Parameter(
            help="replayed samples per surrogate sample in one step",
            kind="float",
            above=0,
            high=64,
            default=1.0,
        )
    )
    surrogate: str = param(
        Parameter(
            help="what the forgotten class becomes: noise (U[0, 1]), grey (0.5) or a folder of images",
            kind="text",
            default="noise",
        )
    )
    update: str = param(
        Parameter(
            help="how forgetting and remembering are combined: one sum, conflicting gradients projected "
            "symmetrically, or alternating steps",
            kind="choice",
            choices=("standard", "projected", "alternating"),
            default="standard",
        )
    )
    reteach: float = param(
        Parameter(
            help="share of surrogate samples that carry a class forgotten in an earlier step",
            kind="float",
            low=0,
            high=0.9,
            default=0.25,
        )
    )
    harden: bool = param(Parameter(help="also train against recovery attacks", kind="bool", default=False))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.surrogate not in ("noise", "grey") and not Path(self.surrogate).is_dir():
            raise ParameterError("surrogate", self.surrogate, "noise, grey or an existing folder of images")


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(RunConfig):
    """`judge`."""


@dataclass(frozen=True, kw_only=True)
class BaseConfig(RecipeConfig, OptimisationConfig):
    """`base`."""

    def settings(self, without: tuple[int, ...] = ()) -> s.BaseSettings:
        """The resolved settings; `without` names classes that are left out (an oracle)."""
        return s.BaseSettings(
            z_dim=self.z_dim,
            labels=tuple(c for c in range(s.CLASSES) if c not in without),
            optimisation=self.over(s.BASE_OPTIMISATION[self.recipe]),
        )


@dataclass(frozen=True, kw_only=True)
class FimConfig(RecipeConfig, FisherConfig, FromVersionConfig):
    """`fim`."""


@dataclass(frozen=True, kw_only=True)
class ForgetConfig(
    RecipeConfig, OptimisationConfig, FisherConfig, FromVersionConfig, AmnesiaConfig, ClassesConfig
):
    """`forget`."""

    def settings(
        self, earlier: tuple[int, ...], surrogate_md5: str | None, fisher_source: str = "recomputed"
    ) -> s.ForgetSettings:
        """The resolved settings of a step from a generator that has forgotten `earlier`."""
        word = self.surrogate if self.surrogate in ("noise", "grey") else "images"
        return s.ForgetSettings(
            forget=self.classes,
            earlier=tuple(sorted(earlier)),
            optimisation=self.over(s.FORGET_OPTIMISATION[self.recipe]),
            ewc_lambda=s.EWC_LAMBDA[self.recipe] if self.ewc_lambda is None else self.ewc_lambda,
            replay_ratio=self.replay_ratio,
            decoder_terms=self.recipe == "fast",
            surrogate=word,  # type: ignore[arg-type]
            surrogate_md5=surrogate_md5,
            update=self.update,  # type: ignore[arg-type]
            reteach=self.reteach if earlier else 0.0,
            harden=s.HARDEN if self.harden else None,
            fisher_source=fisher_source,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, kw_only=True)
class OracleConfig(BaseConfig, ClassesConfig):
    """`oracle`."""


@dataclass(frozen=True, kw_only=True)
class SequentialConfig(RecipeConfig, OptimisationConfig, FisherConfig, FromVersionConfig, AmnesiaConfig):
    """`sequential`."""

    digits: tuple[int, ...] = param(
        Parameter(
            help="classes to forget one after another, in this order",
            kind="digits",
            low=0,
            high=9,
            default=(0, 1, 2, 3, 4),
            group="what",
        )
    )
    fisher_source: str = param(
        Parameter(
            help="Fisher diagonal of a step: of the generator it starts from, summed over all steps so far, "
            "or of the base alone",
            kind="choice",
            choices=s.FISHER_SOURCES,
            default="recomputed",
        )
    )
    resume: bool = param(
        Parameter(
            help="go on with the newest interrupted sequence of the same parameters, also one begun with fresh",
            kind="bool",
            default=False,
            group="where",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_all_ten(self.digits)

    def step(self, digit: int) -> ForgetConfig:
        """The config of the step that forgets `digit`."""
        shared = {name: getattr(self, name) for name in ForgetConfig.parameters() if hasattr(self, name)}
        return ForgetConfig(**(shared | {"digit": digit, "digits": ()}))


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RecipeConfig, VersionConfig):
    """`evaluate`."""

    all_digits: bool = param(
        Parameter(
            help="forget each digit on its own from the base of each seed, and measure them all in one table",
            kind="bool",
            default=False,
            group="what",
        )
    )
    seeds: tuple[int, ...] = param(
        Parameter(
            help="seeds of the table that all_digits makes",
            kind="numbers",
            low=0,
            high=2**31 - 1,
            default=(0, 1, 2),
            group="what",
        )
    )
    harden: bool = param(Parameter(help="all_digits with the hardened recipe", kind="bool", default=False))


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One entry point: its module is `sa_mlops.stages.<name>`, which has `run(config)`."""

    name: str
    config: type[RunConfig]
    help: str


ENTRY_POINTS: dict[str, EntryPoint] = {
    e.name: e
    for e in (
        EntryPoint("judge", JudgeConfig, "train the classifiers that measure, and check their calibration"),
        EntryPoint("base", BaseConfig, "train the conditional VAE on all ten classes"),
        EntryPoint("fim", FimConfig, "estimate a generator's Fisher diagonal"),
        EntryPoint("forget", ForgetConfig, "make a generator forget a class, and measure it"),
        EntryPoint(
            "oracle", OracleConfig, "train the base recipe without the forgotten classes: the control"
        ),
        EntryPoint(
            "sequential", SequentialConfig, "forget several classes one after another, each step a version"
        ),
        EntryPoint(
            "evaluate", EvaluateConfig, "measure a registered generator, or all ten digits over several seeds"
        ),
    )
}
