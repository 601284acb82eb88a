"""The method interface. A method is a module of this package that defines `METHOD`; `known` finds it.

A method's module must not import torch, MLflow or files when it is imported: the command line, MLproject and the TUI
read its settings. Its `run` imports the rest.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sa_mlops import keys, methods
from sa_mlops.methods.distillation import DistilSettings
from sa_mlops.methods.hardening import HardenSettings
from sa_mlops.parameters import Parameter, ParameterError, Parameters
from sa_mlops.settings import added

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sa_mlops.core.training import Report
    from sa_mlops.datasets.spec import Dataset
    from sa_mlops.models.classifiers import Judge
    from sa_mlops.models.interface import CVAE

DEFAULT = "selective-amnesia"
"""The method of versions that record none."""

Target = Literal["grey", "noise", "another class", "as retrained"]
"""Target of a method for a forgotten class."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """The resolved settings of one step of forgetting; a method adds its own fields.

    Attributes
    ----------
    forget : class indices to forget now, ascending.
    earlier : class indices forgotten in earlier steps, ascending.
    harden, distil : settings of the phases after the method, None for those that are left out.
    """

    forget: tuple[int, ...]
    earlier: tuple[int, ...]
    harden: HardenSettings | None
    method: str = added(DEFAULT)
    distil: DistilSettings | None = added(None)  # noqa: RUF009

    @property
    def forgotten(self) -> tuple[int, ...]:
        """Every class index forgotten after this step, ascending."""
        return tuple(sorted(self.forget + self.earlier))

    @property
    def length(self) -> int:
        """Number of training steps of the method itself."""
        return 1

    @property
    def shared(self) -> dict[str, Any]:
        """The fields that every method has, by name."""
        return {f.name: getattr(self, f.name) for f in fields(StepSettings)}

    @property
    def phases(self) -> dict[str, DistilSettings | HardenSettings]:
        """The phases after the method, by name, in their order: distillation last, so that it passes hardening on."""
        found = {"harden": self.harden, "distil": self.distil}
        return {name: phase for name, phase in found.items() if phase is not None}

    @property
    def steps_in_all(self) -> int:
        """Number of training steps of the method and of the phases after it."""
        return self.length + sum(phase.optimisation.steps for phase in self.phases.values())

    @property
    def target(self) -> Target:
        """Target of the step for the forgotten classes."""
        return "grey" if self.harden else named(self.method).target

    @property
    def key(self) -> keys.Key:
        """Key of the method's random numbers."""
        return keys.forget(self.forget, self.earlier)

    def retained(self, classes: int) -> tuple[int, ...]:
        """The class indices, of `classes` in all, that are neither forgotten nor to be forgotten."""
        return tuple(c for c in range(classes) if c not in self.forgotten)


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Inputs of a step's settings besides its own options.

    Attributes
    ----------
    recipe : `fast` or `paper`.
    images_md5 : hash of the user's images, if the method takes any.
    fisher_source : which Fisher diagonal protects the step.
    """

    recipe: str
    z_dim: int
    net: str
    images_md5: str | None = None
    fisher_source: str = "recomputed"


class MethodConfig(Parameters):
    """Base of a method's options: a frozen dataclass whose fields come from `number`, `choice` and the like."""

    @property
    def images(self) -> Path | None:
        """A folder of the user's images that the method needs."""
        return None

    def resolve(self, step: StepSettings, upstream: Upstream) -> StepSettings:
        """The settings that decide the result."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MethodSettings(StepSettings, MethodConfig):
    """Base of the options of a method that has nothing to resolve: they are its settings."""

    forget: tuple[int, ...] = ()
    earlier: tuple[int, ...] = ()
    harden: HardenSettings | None = None

    @property
    def length(self) -> int:
        """The option `steps`, if the method has one."""
        return getattr(self, "steps", 1)

    def resolve(self, step: StepSettings, upstream: Upstream) -> StepSettings:  # noqa: ARG002
        """The same, with the classes to forget."""
        return replace(self, **step.shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Inputs that a method needs besides the generator.

    Attributes
    ----------
    fisher : the Fisher diagonal over all classes that the start has not forgotten.
    data : real images.
    classifier : one to train against.
    """

    fisher: bool = False
    data: bool = False
    classifier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs of a step. A method gets all that it `needs`, and real images only then.

    Attributes
    ----------
    fisher : parameter name -> Fisher diagonal.
    images : (n, C, H, W) in [0, 1], the user's.
    classifier : in evaluation mode; hardening trains against it too.
    """

    fisher: Mapping[str, Tensor] = field(default_factory=dict)
    images: Tensor | None = None
    data: Dataset | None = None
    classifier: Judge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One step for a method's `run`.

    Attributes
    ----------
    start : the generator to start from, not to be changed.
    settings : the method's resolved settings.
    generator : source of every draw, on the device that trains.
    report : to be called after each step with the loss terms.
    on_step : to be called after each step with the generator, if it is given.
    """

    start: CVAE
    settings: Any
    inputs: Inputs
    generator: torch.Generator
    report: Report
    on_step: Callable[[int, CVAE], None] | None

    @property
    def retained(self) -> tuple[int, ...]:
        """Class indices to retain."""
        retained: tuple[int, ...] = self.settings.retained(self.start.classes)
        return retained


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of forgetting.

    Attributes
    ----------
    name : its word after `--method`.
    help : one line.
    config : its options.
    settings : its resolved settings; None if its options are its settings.
    target : its target for a forgotten class.
    run : makes a new generator.
    """

    name: str
    help: str
    config: type[MethodConfig]
    target: Target
    run: Callable[[Request], CVAE]
    settings: type[StepSettings] | None = None
    needs: Needs = Needs()

    @property
    def recorded(self) -> type[StepSettings]:
        """The settings that are recorded with a version."""
        if self.settings is not None:
            return self.settings
        assert issubclass(self.config, StepSettings)
        return self.config

    def options(self) -> dict[str, Parameter]:
        """Name -> definition of the options that it takes."""
        return self.config.parameters()


def known() -> tuple[str, ...]:
    """Names of all methods, in alphabetical order."""
    return tuple(sorted(_found(tuple(methods.__path__))))


def named(name: str) -> Method:
    """The method of that name. Raises ParameterError if there is none."""
    if name not in known():
        raise ParameterError("method", name, f"one of {', '.join(known())}")
    return _found(tuple(methods.__path__))[name]


@lru_cache
def _found(path: tuple[str, ...]) -> dict[str, Method]:
    modules = (importlib.import_module(f"{methods.__name__}.{m.name}") for m in pkgutil.iter_modules(path))
    found: list[Method] = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.name: method for method in found}


def options() -> dict[str, Parameter]:
    """Name -> definition of the options of all methods; those of one name must have one definition."""
    every: dict[str, Parameter] = {}
    for name in known():
        for key, parameter in named(name).options().items():
            if every.setdefault(key, parameter) != parameter:
                raise ValueError(f"method {name} defines the option {key} differently from another method")
    return every


Watch = Callable[[str, int], AbstractContextManager["Report"]]
"""watch(phase, steps): opened round a phase, `forget`, `distil` or `harden`; yields the report of its loss terms."""


def watched(report: Report) -> Watch:
    """A watch that hands every phase's terms to `report`."""
    return lambda phase, steps: nullcontext(report)  # noqa: ARG005


def train_step(
    start: CVAE,
    settings: StepSettings,
    inputs: Inputs,
    generator: Callable[..., torch.Generator],
    *,
    watch: Watch | None = None,
    on_step: Callable[[int, CVAE], None] | None = None,
) -> CVAE:
    """One step of forgetting, with the phases after it: a new generator; `start` is left as it is.

    Raises ValueError without an input that the method or a phase needs; NotFiniteError with the first step and term
    that were not finite.

    Parameters
    ----------
    generator : key -> its random numbers, on the device that trains.
    on_step : called after each step of the method.
    """
    from sa_mlops.core.training import silent

    method = named(settings.method)
    needs = method.needs
    if not needs.data:
        inputs = replace(inputs, data=None)
    for name, missing in {
        "fisher": needs.fisher and not inputs.fisher,
        "data": needs.data and inputs.data is None,
        "classifier": needs_classifier(settings) and inputs.classifier is None,
    }.items():
        if missing:
            raise ValueError(f"{method.name} needs the input {name}")
    watch = watch or watched(silent)
    with watch("forget", settings.length) as report:
        model = method.run(
            Request(
                start=start, settings=settings, inputs=inputs, generator=generator(*settings.key),
                report=report, on_step=on_step,
            )
        )  # fmt: skip
    for name, phase in settings.phases.items():
        with watch(name, phase.optimisation.steps) as report:
            numbers = generator(*keys.phase(name, settings.forgotten))
            if isinstance(phase, HardenSettings):
                from sa_mlops.methods.hardening.training import harden

                assert inputs.classifier is not None
                model = harden(
                    model, start, inputs.classifier, phase, settings.forgotten, numbers, report=report
                )
            else:
                from sa_mlops.methods.distillation.training import distil

                model = distil(model, phase, numbers, report=report)
    return model


def needs_classifier(settings: StepSettings) -> bool:
    """Whether a step trains against a classifier: its method, or hardening."""
    return named(settings.method).needs.classifier or settings.harden is not None
