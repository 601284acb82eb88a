"""Entry points and their parameters, defined once for MLproject, the CLI, MLflow params, the TUI and README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
    harden_retain: float = param(
        Parameter(
            help="weight of what is retained while hardening: with less, attacks find less and images lose more",
            kind="float",
            low=1,
            high=1e6,
            default=s.HARDEN.retain_weight,
        )
    )

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

    settings: str = param(
        Parameter(
            help="JSON file with values of the other parameters, as `tune` writes it; "
            "what is given beside it and is not the default wins",
            kind="text",
            default="",
        )
    )

    def __post_init__(self) -> None:
        if self.settings:
            for name, value in self._read(Path(self.settings)).items():
                if getattr(self, name) == self.parameters()[name].default:
                    object.__setattr__(self, name, value)
        super().__post_init__()

    def _read(self, path: Path) -> dict[str, Any]:
        """Values by name from a settings file: only of parameters that say how to forget."""
        known = {k for k, p in self.parameters().items() if p.group == "how"} - {"settings"}
        allowed = f"a JSON file with values for any of {', '.join(sorted(known))}"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise ParameterError("settings", self.settings, allowed) from None
        if not isinstance(values, dict) or not values.keys() <= known:
            raise ParameterError("settings", self.settings, allowed)
        return values

    def resolved(
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
            harden=replace(s.HARDEN, retain_weight=self.harden_retain) if self.harden else None,
            distillation=s.DISTILLATION,
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


SEARCHABLE = ("ewc_lambda", "replay_ratio", "steps", "lr", "surrogate", "update")
"""Parameters of `forget` that `tune` can search over."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig(RecipeConfig, FisherConfig, FromVersionConfig):
    """`tune`."""

    digits: tuple[int, ...] = param(
        Parameter(
            help="classes that a trial forgets, each on its own; an easy and a hard one",
            kind="digits",
            low=0,
            high=9,
            default=(1, 8),
            group="what",
        )
    )
    seeds: tuple[int, ...] = param(
        Parameter(
            help="seeds of forgetting that a trial averages over, all from the same base",
            kind="numbers",
            low=0,
            high=2**31 - 1,
            default=(0,),
            group="what",
        )
    )
    trials: int = param(
        Parameter(
            help="finished trials that the study is to have in the end",
            kind="int",
            low=1,
            high=100_000,
            default=60,
            group="what",
        )
    )
    sampler: str = param(
        Parameter(
            help="how the next trial is chosen: tree-structured Parzen estimator, NSGA-II or at random",
            kind="choice",
            choices=("tpe", "nsga2", "random"),
            default="tpe",
        )
    )
    sampler_seed: int = param(
        Parameter(
            help="seeds the choice of trials, and nothing else", kind="int", low=0, high=2**31 - 1, default=0
        )
    )
    space: str = param(
        Parameter(
            help=f"parameters to search over, comma-separated, of {', '.join(SEARCHABLE)}",
            kind="text",
            default="ewc_lambda,replay_ratio,steps,lr",
        )
    )
    steps: tuple[int, ...] = param(
        Parameter(
            help="fewest and most training steps of a trial; with one number, or without steps in the space, "
            "every trial has the largest",
            kind="numbers",
            low=1,
            high=10_000_000,
            default=(30, 150),
        )
    )
    seconds: bool = param(
        Parameter(help="minimise the seconds of forgetting as a third objective", kind="bool", default=False)
    )
    harden: bool = param(
        Parameter(
            help="every trial is hardened, and its gap counts what a gradient attack still finds",
            kind="bool",
            default=False,
        )
    )
    samples: int = param(
        Parameter(
            help="samples a class behind a trial's scores", kind="int", low=10, high=100_000, default=500
        )
    )
    final_seeds: int = param(
        Parameter(
            help="fresh seeds under which the chosen settings meet the default and the paper's; 0: no final choice",
            kind="int",
            low=0,
            high=100,
            default=2,
            group="what",
        )
    )
    study: str | None = param(
        Parameter(
            help="name of the study; a known one goes on. auto names it after what it searches",
            kind="text",
            default=None,
            group="where",
        )
    )
    storage: str | None = param(
        Parameter(
            help="where the study lives: a file NAME.journal for the processes of one machine, or "
            "postgresql://USER@HOST/DATABASE for any number of machines (password in PGPASSWORD or ~/.pgpass); "
            "auto is a journal beside the tracking store",
            kind="text",
            default=None,
            group="where",
        )
    )
    workers: int = param(
        Parameter(
            help="processes on this machine that run trials",
            kind="int",
            low=1,
            high=256,
            default=1,
            group="where",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.space.split(",")
        if len(set(words)) < len(words) or not set(words) <= set(SEARCHABLE):
            raise ParameterError("space", self.space, f"different words of {', '.join(SEARCHABLE)}")
        if len(self.steps) > 2:
            raise ParameterError("steps", ",".join(map(str, self.steps)), "one or two whole numbers")
        if self.study is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", self.study):
            raise ParameterError(
                "study", self.study, "up to 64 letters, digits, dots, dashes and underscores"
            )
        if self.storage is not None:
            # Parameters are logged, and a password must not be.
            if re.match(r"[^/]*://[^/@]*:[^/]*@", self.storage):
                raise ParameterError("storage", "a URL with a password", "it in PGPASSWORD or ~/.pgpass")
            if not self.storage.startswith("postgresql") and not self.storage.endswith(".journal"):
                raise ParameterError(
                    "storage", self.storage, "auto, NAME.journal or postgresql://USER@HOST/DATABASE"
                )

    @property
    def searched(self) -> tuple[str, ...]:
        """The parameters to search over, in the order of `SEARCHABLE`."""
        return tuple(name for name in SEARCHABLE if name in self.space.split(","))

    def trial(self, digit: int, seed: int, values: Mapping[str, Any]) -> ForgetConfig:
        """What `forget` is told to do for one digit and seed of a trial with these values."""
        shared: dict[str, Any] = {
            "dataset": self.dataset, "device": self.device, "from_version": self.from_version,
            "recipe": self.recipe, "z_dim": self.z_dim,
            "fisher_samples": self.fisher_samples, "harden": self.harden, "steps": max(self.steps),
        }  # fmt: skip
        return ForgetConfig(**(shared | {"digit": digit, "seed": seed} | dict(values)))


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(RecipeConfig, VersionConfig):
    """`probe`."""

    probes: str = param(
        Parameter(
            help="all, or names of probes separated by commas", kind="text", default="all", group="what"
        )
    )
    target: int | None = param(
        Parameter(
            help="class to bring back; auto is the last one that the version has forgotten",
            kind="int",
            low=0,
            high=9,
            default=None,
            group="what",
        )
    )
    beside: str = param(
        Parameter(
            help="further generators to attack, versions or aliases separated by commas",
            kind="text",
            default="",
            group="what",
        )
    )
    attempts: int = param(
        Parameter(help="restarts of each probe", kind="int", low=10, high=100_000, default=200)
    )
    contrast: float = param(
        Parameter(
            help="attack and judge images whose pixel logits are multiplied by this, as whoever may edit images can;"
            " above 1 without relearning and not recorded with the version",
            kind="float",
            low=1.0,
            high=1_000.0,
            default=1.0,
        )
    )
    relearn: bool = param(
        Parameter(help="also relearn from real images and read hidden layers", kind="bool", default=True)
    )
    no_train: bool = param(
        Parameter(
            help="fail if the oracle is missing instead of training it",
            kind="bool",
            default=False,
            group="where",
        )
    )

    def chosen(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The probes named, in the order of `known`.

        Raises
        ------
        ParameterError : for a name that is not known.
        """
        if self.probes == "all":
            return known
        words = [word.strip() for word in self.probes.split(",")]
        for word in words:
            if word not in known:
                raise ParameterError("probes", word, f"all or any of {', '.join(known)}")
        return tuple(name for name in known if name in words)


@dataclass(frozen=True, kw_only=True)
class LatentConfig(RunConfig, VersionConfig):
    """`latent`."""

    label: int | None = param(
        Parameter(
            help="class whose manifold is decoded; auto is the one that the version forgot",
            kind="int",
            low=0,
            high=9,
            default=None,
            group="what",
        )
    )
    axes: str = param(
        Parameter(
            help="plane of the manifold: two latent axes such as 0,1 (the others at 0), or tsne for the map's plane",
            kind="text",
            default="0,1",
            group="what",
        )
    )
    subset: int = param(
        Parameter(
            help="test images in the t-SNE maps, silhouettes and neighbourhoods",
            kind="int",
            low=200,
            high=10_000,
            default=3_000,
        )
    )
    z2: bool = param(
        Parameter(
            help="also make a base with z_dim 2 forget the class, and draw its latent space as it is",
            kind="bool",
            default=True,
            group="what",
        )
    )
    updates: bool = param(
        Parameter(
            help="also compare the standard, projected and alternating updates",
            kind="bool",
            default=True,
            group="what",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axes != "tsne" and not re.fullmatch(r"(\d|[1-9]\d{1,2}),(?!\1$)(\d|[1-9]\d{1,2})", self.axes):
            raise ParameterError("axes", self.axes, "two different latent axes such as 0,1, or tsne")

    @property
    def plane(self) -> tuple[int, int] | None:
        """The two latent axes, None for the plane of the t-SNE map."""
        if self.axes == "tsne":
            return None
        first, second = map(int, self.axes.split(","))
        return first, second


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One entry point: its module is `<package>.<name>`, which has `run(config)`."""

    name: str
    config: type[RunConfig]
    help: str
    package: str = "sa_mlops.stages"
    file: str = ""

    @property
    def module(self) -> str:
        """Name of the module."""
        return f"{self.package}.{self.file or self.name}"


ENTRY_POINTS: dict[str, EntryPoint] = {
    e.name: e
    for e in (
        EntryPoint("judge", JudgeConfig, "train the classifiers that measure, and check their calibration"),
        EntryPoint("base", BaseConfig, "train the conditional VAE on all ten classes"),
        EntryPoint("fim", FimConfig, "estimate a generator's Fisher diagonal", file="fisher"),
        EntryPoint("forget", ForgetConfig, "make a generator forget a class, and measure it"),
        EntryPoint(
            "oracle",
            OracleConfig,
            "train the base recipe without the forgotten classes: the control",
            file="retrain",
        ),
        EntryPoint(
            "sequential", SequentialConfig, "forget several classes one after another, each step a version"
        ),
        EntryPoint(
            "evaluate", EvaluateConfig, "measure a registered generator, or all ten digits over several seeds"
        ),
        EntryPoint(
            "probe", ProbeConfig, "try to bring a forgotten class back, beside the base and an oracle"
        ),
        EntryPoint(
            "latent",
            LatentConfig,
            "map the latent space before and after forgetting, and animate both trainings",
        ),
        EntryPoint(
            "tune",
            TuneConfig,
            "search for settings that forget more and harm less, and promote the best",
            package="sa_mlops.tuning",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(Parameters):
    """`submit`: where an entry point runs, and what each task of it gets there."""

    target: str = param(
        Parameter(
            help="slurm, or local: processes of this machine",
            kind="choice",
            choices=("slurm", "local"),
            default="slurm",
            group="where",
        )
    )
    sweep: str = param(
        Parameter(
            help="NAME=VALUE,VALUE,...: a task for each value of that option, as an array",
            kind="text",
            default="",
            group="where",
        )
    )
    partition: str | None = param(
        Parameter(help="SLURM's partition; auto is its default", kind="text", default=None, group="where")
    )
    cpus: int = param(
        Parameter(help="CPU cores of a task", kind="int", low=1, high=4096, default=2, group="where")
    )
    memory: int = param(
        Parameter(help="memory of a task in GB", kind="int", low=1, high=65_536, default=4, group="where")
    )
    gpus: int = param(Parameter(help="GPUs of a task", kind="int", low=0, high=64, default=0, group="where"))
    minutes: int = param(
        Parameter(
            help="time limit of a task; one that meets it is queued again, at most three times",
            kind="int",
            low=1,
            high=100_000,
            default=60,
            group="where",
        )
    )
    parallel: int | None = param(
        Parameter(
            help="most tasks of an array at once; auto is all of them on SLURM, one on this machine",
            kind="int",
            low=1,
            high=10_000,
            default=None,
            group="where",
        )
    )
    follow: bool = param(
        Parameter(
            help="stay, show what the tasks say, and end with the worst of their statuses",
            kind="bool",
            default=False,
            group="where",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partition is not None and not re.fullmatch(r"[A-Za-z0-9_.,-]{1,200}", self.partition):
            raise ParameterError("partition", self.partition, "the name of a partition")
