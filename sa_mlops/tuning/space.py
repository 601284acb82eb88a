"""The search space of a study and the values that it tries first."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sa_mlops.config import TuneConfig


def distribution(name: str, config: TuneConfig) -> BaseDistribution:
    """Values that a searched option may take; numbers on a logarithmic scale."""
    if name == "steps":
        return IntDistribution(min(config.steps), max(config.steps), log=True)
    option = config.searchable[name]
    if option.kind not in ("int", "float"):
        return CategoricalDistribution(option.search)
    low, high = option.search
    kind = IntDistribution if option.kind == "int" else FloatDistribution
    return kind(low, high, log=True)


def recipe_values(config: TuneConfig, recipe: str) -> dict[str, Any]:
    """A recipe's own values, as near to them as the space allows: the paper's steps are far more than a trial has."""
    free = {"steps": None} if "steps" in config.searchable else {}
    settings = config.trial(config.ordered[0], 0, free | {"recipe": recipe}).resolved((), None)
    own = asdict(settings)
    own |= own.pop("optimisation", {})
    return {name: _inside(own[name], distribution(name, config)) for name in config.searched}


def _inside(value: Any, d: BaseDistribution) -> Any:
    if isinstance(d, IntDistribution | FloatDistribution):
        return type(d.low)(min(max(value, d.low), d.high))
    return value


def suggest(trial: optuna.Trial, config: TuneConfig) -> dict[str, Any]:
    """The values that a trial is to try."""
    values: dict[str, Any] = {}
    for name in config.searched:
        match distribution(name, config):
            case IntDistribution() as d:
                values[name] = trial.suggest_int(name, d.low, d.high, log=d.log)
            case FloatDistribution() as d:
                values[name] = trial.suggest_float(name, d.low, d.high, log=d.log)
            case CategoricalDistribution() as d:
                values[name] = trial.suggest_categorical(name, d.choices)
    return values
