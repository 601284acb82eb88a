"""Entry points and their parameters, defined once for MLproject, the CLI, MLflow params, the TUI and the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sa_mlops import datasets, models
from sa_mlops import settings as s
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.errors import CommandError
from sa_mlops.methods import interface
from sa_mlops.methods.distillation import DistilConfig
from sa_mlops.methods.hardening import HardenConfig
from sa_mlops.methods.interface import MethodConfig, StepSettings, Upstream
from sa_mlops.parameters import (
    FileError,
    Parameter,
    ParameterError,
    Parameters,
    choice,
    class_names,
    flag,
    number,
    numbers,
    param,
    read_json,
    text,
    whole,
)
from sa_mlops.settings import SEED

CONTROL = "retrain"
"""The method that all others are compared with."""
ALIASES: Mapping[str, str] = {"digit": "classes", "digits": "classes", "all_digits": "all_classes"}
"""Old name of a parameter -> its name."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(Parameters):
    """Parameters of every stage."""

    dataset: str = text(
        "labelled images to use: a bundled data set, or one that `sa-mlops data add` has pinned",
        "mnist",
        "where",
    )
    seed: int = whole("random seed of training and sampling", 0, *SEED, "where")
    device: str = text("device to compute on: auto, cpu, cuda, cuda:N or mps", "auto", "where")
    fresh: bool = flag("retrain everything and ignore registered versions", group="where")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            datasets.spec(self.dataset)
        except (ValueError, CommandError) as error:
            known = datasets.known()
            allowed = (
                f"one that can be read: {error}" if self.dataset in known else f"one of {', '.join(known)}"
            )
            raise ParameterError("dataset", self.dataset, allowed) from None
        words = ("auto", "cpu", "cuda", "mps")
        if self.device not in words and not (self.device.startswith("cuda:") and self.device[5:].isdecimal()):
            raise ParameterError("device", self.device, "auto, cpu, cuda, cuda:N or mps")

    @property
    def spec(self) -> DataSpec:
        """The specification of the data set."""
        return datasets.spec(self.dataset)

    def class_index(self, name: str) -> int | None:
        """Index of the class in the parameter `name`; None for `auto`."""
        word = getattr(self, name)
        return None if word is None else self._indices(name, (word,))[0]

    def _indices(self, name: str, words: tuple[str, ...]) -> tuple[int, ...]:
        """Indices of the classes `words`, given as the parameter `name`.

        Raises ParameterError if one is no class of the data set, or twice the same.
        """
        shown = ",".join(words)
        try:
            indices = self.spec.indices(words)
        except ValueError:
            few = ", ".join(self.spec.classes[:20]) + (", ..." if self.spec.count > 20 else "")
            raise ParameterError(name, shown, f"classes of {self.dataset} ({few})") from None
        if len(set(indices)) < len(indices):
            raise ParameterError(name, shown, "different classes")
        return indices


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(RunConfig):
    """Stages that train or measure a generator."""

    recipe: str = choice(
        "fast: full quality in minutes on two CPU cores; paper: steps, rates and objective of the reference code",
        s.RECIPES,
        "fast",
    )
    z_dim: int = whole("latent size", 8, 1, 256)
    net: str = choice(
        "network of a generator trained from scratch; auto suits the images", ("auto", *models.nets()), "auto"
    )

    @property
    def net_name(self) -> str:
        """The net, `auto` resolved."""
        return models.default_net(self.spec) if self.net == "auto" else self.net


@dataclass(frozen=True, kw_only=True)
class FromVersionConfig(Parameters):
    """Stages that start from a registered generator."""

    from_version: str = text(
        "generator to start from: version number or alias; auto is the base", "auto", "what"
    )


@dataclass(frozen=True, kw_only=True)
class VersionConfig(Parameters):
    """Stages that examine a registered generator."""

    version: str = text("generator to examine: version number or alias", "latest", "what")


@dataclass(frozen=True, kw_only=True)
class FisherConfig(Parameters):
    """Fisher diagonal."""

    fisher_samples: int = whole("samples from which the Fisher diagonal is estimated", 50_000, 1, 10_000_000)


@dataclass(frozen=True, kw_only=True)
class ClassesConfig(RunConfig):
    """Stages that forget classes; at least one class is retained."""

    classes: tuple[str, ...] = class_names("classes to forget, by name or number", ("1",))
    together: ClassVar[bool] = True
    """Whether one generator forgets all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        indices = self._indices("classes", self.classes)
        if self.together and len(indices) >= self.spec.count:
            allowed = (
                f"at most {self.spec.count - 1} of the {self.spec.count} classes, so that one is retained"
            )
            raise ParameterError("classes", ",".join(self.classes), allowed)
        object.__setattr__(self, "classes", self.spec.names(indices))

    @property
    def ordered(self) -> tuple[int, ...]:
        """Indices of the classes, in the order given."""
        return self.spec.indices(self.classes)

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the classes, ascending."""
        return tuple(sorted(self.ordered))


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(RunConfig):
    """`judge`."""


@dataclass(frozen=True, kw_only=True)
class BaseConfig(RecipeConfig, s.OptimisationConfig):
    """`base`."""

    def settings(self, without: tuple[int, ...] = ()) -> s.BaseSettings:
        """The resolved settings; `without` are the class indices that a retrained control leaves out."""
        return s.BaseSettings(
            z_dim=self.z_dim,
            labels=tuple(c for c in range(self.spec.count) if c not in without),
            optimisation=self.over(s.base_optimisation(self.recipe, self.net_name)),
            net=self.net_name,
        )


@dataclass(frozen=True, kw_only=True)
class FimConfig(RecipeConfig, FisherConfig, FromVersionConfig):
    """`fim`."""


Config = TypeVar("Config")
FISHER_OPTIONS = ("fisher_samples", "fisher_source")
"""Options of the methods that need a Fisher diagonal."""


def _with_options(config: type[Config]) -> type[Config]:
    """Add a field for each option of each method."""
    for name, parameter in interface.options().items():
        config.__annotations__[name] = "Value"
        setattr(config, name, param(parameter))
    return config


@dataclass(frozen=True, kw_only=True)
@_with_options
class StepConfig(RecipeConfig, FisherConfig, FromVersionConfig, DistilConfig, HardenConfig, ClassesConfig):
    """Stages that forget by a method. The options of all methods are fields, but only the chosen one's may be set."""

    method: str = choice("method of forgetting", interface.known(), interface.DEFAULT)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, parameter in self.parameters().items():
            value = getattr(self, name)
            users = _users(name)
            if users and self.method not in users and value != parameter.default:
                allowed = f"it only with --method {' or '.join(users)}"
                raise ParameterError(name, parameter.spell(value), allowed)
        _ = self.options  # checked when it is made

    @classmethod
    def parameters_with(cls, method: str) -> dict[str, Parameter]:
        """Name -> definition of the parameters that may be set with a method."""
        return {n: p for n, p in cls.parameters().items() if not _users(n) or method in _users(n)}

    @property
    def options(self) -> MethodConfig:
        """The options of the chosen method."""
        method = interface.named(self.method)
        return method.config(**{name: getattr(self, name) for name in method.options()})

    @property
    def images(self) -> Path | None:
        """A folder of the user's images that the method needs."""
        return self.options.images

    def resolved(
        self,
        earlier: tuple[int, ...],
        images_md5: str | None,
        fisher_source: str = "recomputed",
        net: str | None = None,
    ) -> StepSettings:
        """The resolved settings of a step from a generator that has forgotten the class indices `earlier`.

        `net` is the generator's, by default that of the options.
        """
        step = StepSettings(
            method=self.method, forget=self.indices, earlier=tuple(sorted(earlier)),
            harden=self.hardening(self.spec.count), distil=self.distillation(hardened=self.harden),
        )  # fmt: skip
        upstream = Upstream(
            recipe=self.recipe, z_dim=self.z_dim, net=net or self.net_name, images_md5=images_md5,
            fisher_source=fisher_source
        )  # fmt: skip
        return self.options.resolve(step, upstream)


def _users(name: str) -> tuple[str, ...]:
    """Methods that take an option; empty for options that all methods take."""
    return _takers(interface.known()).get(name, ())


@lru_cache
def _takers(methods: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Option -> those of the methods that take it."""
    takers: dict[str, tuple[str, ...]] = {}
    for method in map(interface.named, methods):
        for name in (*(FISHER_OPTIONS if method.needs.fisher else ()), *method.options()):
            takers[name] = (*takers.get(name, ()), method.name)
    return takers


@dataclass(frozen=True, kw_only=True)
class ForgetConfig(StepConfig):
    """`forget`."""

    settings: str = text(
        "JSON file with values of the other parameters, as `tune` writes it; options given beside it override it",
        "",
    )

    def __post_init__(self) -> None:
        if self.settings:
            for name, value in self._read(Path(self.settings)).items():
                if name not in self.given:
                    object.__setattr__(self, name, value)
        super().__post_init__()

    def _read(self, path: Path) -> dict[str, Any]:
        """Values by name from a settings file: only of parameters that say how to forget."""
        known = {k: p for k, p in self.parameters().items() if p.group == "how" and k != "settings"}
        values = read_json("settings", path, known)
        for key, value in values.items():
            try:
                known[key].check(key, value)
            except ParameterError:
                given = f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40}"
                raise FileError("settings", path, f"{key} is {given}; give {known[key].allowed}") from None
        return values


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(BaseConfig, ClassesConfig):
    """`retrain`."""


@dataclass(frozen=True, kw_only=True)
class SequentialConfig(StepConfig):
    """`sequential`."""

    classes: tuple[str, ...] = class_names(
        "classes to forget one after another, in this order", ("0", "1", "2", "3", "4")
    )
    fisher_source: str = choice(
        "Fisher diagonal of a step: of the generator it starts from, accumulated over all steps, or of the base",
        s.FISHER_SOURCES,
        "recomputed",
    )
    resume: bool = flag(
        "continue the newest interrupted sequence with the same parameters; its finished steps are reused",
        group="where",
    )

    def step(self, index: int) -> ForgetConfig:
        """The config of the step that forgets one class."""
        shared = {key: getattr(self, key) for key in StepConfig.parameters()}
        return ForgetConfig(**shared | {"classes": self.spec.names((index,))})


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RecipeConfig, VersionConfig):
    """`evaluate`."""

    all_classes: bool = flag(
        "forget each class separately from the base of each seed, and tabulate the measurements", group="what"
    )
    seeds: tuple[int, ...] = numbers("seeds of the table of all_classes", (0, 1, 2), *SEED)
    harden: bool = flag("harden each generator of the table of all_classes")
    canaries: bool = flag(
        "check that the membership AUC finds memorised images: train a base like the version's with marked images "
        "planted 1, 10 and 100 times, and forget as the version did", group="what"
    )  # fmt: skip
    population: int = whole(
        "number of generators that forget as the version did, each with its own seed and base, whose margins are "
        "compared with those of as many retrained ones; even, such as 8 (2 are too few to tell); 0: none", 0, 0, 1_000,
        "what"
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population % 2:
            raise ParameterError("population", self.population, "0 or an even number from 2 to 1,000")
        if self.canaries and self.all_classes:
            raise ParameterError("canaries", self.canaries, "it without --all-classes")
        if self.population and (self.all_classes or self.canaries):
            raise ParameterError("population", self.population, "it without --all-classes and --canaries")


@dataclass(frozen=True, kw_only=True)
class TuneConfig(RecipeConfig, FisherConfig, FromVersionConfig, ClassesConfig):
    """`tune`."""

    classes: tuple[str, ...] = class_names(
        "classes that each trial forgets, one at a time; by default an easy and a hard one", ("1", "8")
    )
    together: ClassVar[bool] = False
    seeds: tuple[int, ...] = numbers(
        "seeds of forgetting that each trial averages over, all from the same base", (0,), *SEED
    )
    trials: int = whole("total number of completed trials", 60, 1, 100_000, "what")
    sampler: str = choice(
        "algorithm that proposes trials: tree-structured Parzen estimator, NSGA-II or random search",
        ("tpe", "nsga2", "random"),
        "tpe",
    )
    sampler_seed: int = whole("random seed of the sampler alone", 0, *SEED)
    method: str = choice("method of forgetting", interface.known(), interface.DEFAULT)
    space: str | None = text(
        "options of the method to search over, comma-separated; auto takes every numeric one that has a range",
        None,
    )
    steps: tuple[int, ...] = numbers(
        "least and largest number of training steps of a trial; every trial takes the largest if one number is given "
        "or the space lacks steps", (30, 150), 1, 10_000_000, "how"
    )  # fmt: skip
    seconds: bool = flag("minimise the seconds of forgetting as a third objective")
    harden: bool = flag("harden every trial, and add the success of a gradient attack to its forgetting gap")
    samples: int = whole("samples per class on which a trial is scored", 500, 10, 100_000)
    final_seeds: int = whole(
        "fresh seeds on which the best settings are compared with the default and the paper's; 0: no comparison", 2,
        0, 100, "what"
    )  # fmt: skip
    study: str | None = text(
        "name of the study; resumes the study if it exists; auto derives the name from the search space",
        None,
        "where",
    )
    storage: str | None = text(
        "storage of the study: a file NAME.journal for the processes of one machine, or "
        "postgresql://USER@HOST/DATABASE for any number of machines (password in PGPASSWORD or ~/.pgpass); "
        "auto is a journal beside the tracking store", None, "where"
    )  # fmt: skip
    workers: int = whole("processes on this machine that run trials", 1, 1, 256, "where")

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.space.split(",") if self.space else []
        if len(set(words)) < len(words) or not set(words) <= self.searchable.keys() or not self.searched:
            allowed = f"different words of {', '.join(self.searchable)}"
            raise ParameterError("space", self.space or "auto", allowed)
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
    def searchable(self) -> dict[str, Parameter]:
        """Options of the method that can be searched, its own before those of any optimisation."""
        options = interface.named(self.method).options()
        shared = s.OptimisationConfig.parameters()
        found = {name: p for name, p in options.items() if p.search or name == "steps"}
        return dict(sorted(found.items(), key=lambda item: item[0] in shared))

    @property
    def searched(self) -> tuple[str, ...]:
        """The options to search over, in the order of `searchable`."""
        if self.space is None:
            return tuple(name for name, p in self.searchable.items() if p.kind in ("int", "float"))
        return tuple(name for name in self.searchable if name in self.space.split(","))

    def trial(self, index: int, seed: int, values: Mapping[str, Any]) -> ForgetConfig:
        """The config of `forget` for one class and seed of a trial with these values."""
        parts = (RecipeConfig, FisherConfig, FromVersionConfig)
        own: dict[str, Any] = {key: getattr(self, key) for part in parts for key in part.parameters()}
        own |= {"method": self.method, "harden": self.harden, "fresh": False, "seed": seed}
        own |= {"steps": max(self.steps)} if "steps" in self.searchable else {}
        own["classes"] = self.spec.names((index,))
        return ForgetConfig(**own | dict(values))


@dataclass(frozen=True, kw_only=True)
class CompareConfig(RecipeConfig, FisherConfig, FromVersionConfig, ClassesConfig):
    """`compare`."""

    classes: tuple[str, ...] = class_names("classes that every method forgets, one at a time", ("1", "0"))
    together: ClassVar[bool] = False
    methods: str = text(
        "all, or names of methods separated by commas; NAME+harden or NAME+distil is a method with a phase after it",
        "all", "what"
    )  # fmt: skip
    seeds: tuple[int, ...] = numbers(
        "seeds of the table; each has its own judges and, without from_version, its own base",
        (0, 1, 2),
        *SEED,
    )
    trials: int = whole(
        "trials of a study of each method, on the first two classes, before its settings are compared; 0: defaults",
        0, 0, 100_000, "what"
    )  # fmt: skip
    steps: int | None = whole(
        "training steps of every method but the retrained control; auto takes the recipe's",
        None,
        1,
        10_000_000,
    )
    workers: int = whole("processes on this machine that run trials", 1, 1, 256, "where")

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.methods.split(",")
        if self.methods != "all" and len(set(words)) < len(words):
            raise ParameterError("methods", self.methods, "different methods")
        for word in self.compared:
            method, *phases = word.split("+")
            if method not in interface.known() or phases not in ([], ["harden"], ["distil"]):
                known = ", ".join(interface.known())
                raise ParameterError(
                    "methods", word, f"all or any of {known}, alone or with +harden or +distil"
                )

    @property
    def compared(self) -> tuple[str, ...]:
        """The methods, the retrained control first."""
        words = interface.known() if self.methods == "all" else self.methods.split(",")
        return tuple(sorted(words, key=lambda word: word != CONTROL))

    def row(self, word: str, index: int, seed: int, values: Mapping[str, Any]) -> ForgetConfig:
        """The config of `forget` for a method, a class and a seed, with these values of the method's options."""
        name, *phases = word.split("+")
        own: dict[str, Any] = self._shared(name) | {"method": name, "seed": seed, "fresh": self.fresh}
        own |= dict.fromkeys(phases, True) | {"classes": self.spec.names((index,))}
        if self.steps is not None and name != CONTROL and "steps" in interface.named(name).options():
            own["steps"] = self.steps
        return ForgetConfig(**own | dict(values))

    def study(self, name: str, steps: int) -> TuneConfig:
        """The config of `tune` for a method, with as many steps as the rows; its seed is none of theirs."""
        space = {k: p.kind for k, p in interface.named(name).options().items() if p.search}
        numeric = [k for k, kind in space.items() if kind in ("int", "float")]
        return TuneConfig(
            **self._shared(name), method=name, classes=self.classes[:2], seed=self.seed,
            seeds=(max(self.seeds) + 1,), trials=self.trials, space=",".join(numeric or space), steps=(steps,),
            final_seeds=0, workers=self.workers,
        )  # fmt: skip

    def _shared(self, name: str) -> dict[str, Any]:
        """The options that a method shares with this command, but for the seed."""
        parts: list[type[Parameters]] = [RecipeConfig, FromVersionConfig]
        if interface.named(name).needs.fisher:
            parts.append(FisherConfig)
        return {
            key: getattr(self, key)
            for part in parts
            for key in part.parameters()
            if key not in ("seed", "fresh")
        }


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(RecipeConfig, VersionConfig):
    """`probe`."""

    level: str = choice(
        "search: attacks on latents and conditions; weights: attacks that edit the weights, train them on retained "
        "classes or move them towards the base, also made on two fakes, beside the probe direct and those of --probes; "
        "all: both",
        ("search", "weights", "all"), "search", "what"
    )  # fmt: skip
    probes: str = text("all, or names of probes separated by commas", "all", "what")
    target: str | None = text("class to recover; auto is the class forgotten last", None, "what")
    beside: str = text(
        "further generators to attack: version numbers or aliases separated by commas", "", "what"
    )
    attempts: int = whole("restarts of each probe", 200, 10, 100_000)
    contrast: float = number(
        "attack and judge images whose pixel logits are multiplied by this number, for an attacker who edits images; "
        "above 1 there is no relearning, and nothing is recorded with the version", 1.0, low=1.0, high=1_000.0
    )  # fmt: skip
    relearn: bool = flag("also relearn from real images and read hidden layers", True)
    no_train: bool = flag("fail if the retrained control is missing, instead of training it", group="where")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_index("target")
        if self.tampers and self.contrast != 1:
            raise ParameterError("contrast", f"{self.contrast:g}", f"1 with --level {self.level}")

    @property
    def tampers(self) -> bool:
        """Whether weights are attacked beyond relearning."""
        return self.level != "search"

    def chosen(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The probes named, in the order of `known`; `direct` if none is and only weights are attacked.

        Raises ParameterError for a name that is not known.
        """
        if self.probes == "all":
            return ("direct",) if self.level == "weights" else known
        words = [word.strip() for word in self.probes.split(",")]
        for word in words:
            if word not in known:
                raise ParameterError("probes", word, f"all or any of {', '.join(known)}")
        return tuple(name for name in known if name in words)


@dataclass(frozen=True, kw_only=True)
class LatentConfig(RunConfig, VersionConfig):
    """`latent`."""

    label: str | None = text(
        "class whose manifold is decoded; auto is a class that the version has forgotten", None, "what"
    )
    axes: str = text(
        "plane of the manifold: two latent axes such as 0,1 (the others at 0), or tsne for the plane of the map",
        "0,1",
        "what",
    )
    subset: int = whole("test images in t-SNE maps, silhouettes and neighbourhoods", 3_000, 200, 10_000)
    z2: bool = flag("also forget the class from a base with z_dim 2, and draw its latent space", True, "what")
    updates: bool = flag("also compare the standard, projected and alternating updates", True, "what")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_index("label")
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
    """One entry point: its module is `<package>.<name>`, which has `run(config)`; `alias` is its old name."""

    name: str
    config: type[RunConfig]
    help: str
    package: str = "sa_mlops.stages"
    file: str = ""
    alias: str = ""

    @property
    def module(self) -> str:
        """Name of the module."""
        return f"{self.package}.{self.file or self.name}"


ENTRY_POINTS: dict[str, EntryPoint] = {e.name: e for e in (
    EntryPoint("judge", JudgeConfig, "train the classifiers that measure, and check their calibration"),
    EntryPoint("base", BaseConfig, "train the conditional VAE on all classes"),
    EntryPoint("fim", FimConfig, "estimate a generator's Fisher diagonal", file="fisher"),
    EntryPoint("forget", ForgetConfig, "make a generator forget classes, and measure it"),
    EntryPoint(
        "retrain", RetrainConfig, "train the base recipe without the forgotten classes: the control", alias="oracle"
    ),
    EntryPoint("sequential", SequentialConfig, "forget several classes one after another; each step is a version"),
    EntryPoint("evaluate", EvaluateConfig, "measure a registered generator, or all classes over several seeds"),
    EntryPoint(
        "probe", ProbeConfig, "try to recover a forgotten class, from the version, its base and a retrained control"
    ),
    EntryPoint(
        "latent", LatentConfig, "map the latent space before and after forgetting, and animate both trainings"
    ),
    EntryPoint(
        "tune", TuneConfig,
        "tune hyperparameters for more forgetting and less damage to retained classes, and promote the best",
        package="sa_mlops.tuning",
    ),
    EntryPoint(
        "compare", CompareConfig, "compare methods on one table: the same base, judges, latents and tuning budget",
        package="sa_mlops.comparison",
    ),
)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(Parameters):
    """`submit`: where an entry point runs, and the resources of each task."""

    target: str = choice("slurm, or local: processes of this machine", ("slurm", "local"), "slurm", "where")
    sweep: str = text(
        "NAME=VALUE,VALUE,...: one task for each value of that option, as an array", "", "where"
    )
    partition: str | None = text("SLURM partition; auto is SLURM's default", None, "where")
    cpus: int = whole("CPU cores of a task", 2, 1, 4096, "where")
    memory: int = whole("memory of a task in GB", 4, 1, 65_536, "where")
    gpus: int = whole("GPUs of a task", 0, 0, 64, "where")
    minutes: int = whole(
        "time limit of a task; a task that reaches it is queued again, at most three times", 60, 1, 100_000, "where"
    )  # fmt: skip
    parallel: int | None = whole(
        "most tasks of an array at once; auto is all of them on SLURM, one on this machine", None, 1, 10_000, "where"
    )  # fmt: skip
    follow: bool = flag(
        "wait, show the output of the tasks, and exit with the worst of their statuses", group="where"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partition is not None and not re.fullmatch(r"[A-Za-z0-9_.,-]{1,200}", self.partition):
            raise ParameterError("partition", self.partition, "the name of a partition")
