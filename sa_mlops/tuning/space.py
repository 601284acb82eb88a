"""The search space of a study and the values that it tries first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sa_mlops.config import TuneConfig
from sa_mlops.methods.selective_amnesia import EWC_LAMBDA, OPTIMISATION

RANGES: Mapping[str, tuple[float, float]] = {
    "ewc_lambda": (1e-1, 1e5),
    "replay_ratio": (1 / 16, 2.0),
    "lr": (3e-4, 3e-2),
}
"""Ranges on a logarithmic scale. The penalty matters with little replay and few steps."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "surrogate": ("noise", "grey"),
    "update": ("standard", "projected", "alternating"),
}


def distribution(name: str, config: TuneConfig) -> BaseDistribution:
    """Values that a searched parameter may take."""
    if name == "steps":
        return IntDistribution(min(config.steps), max(config.steps), log=True)
    if name in WORDS:
        return CategoricalDistribution(WORDS[name])
    low, high = RANGES[name]
    return FloatDistribution(low, high, log=True)


def recipe_values(config: TuneConfig, recipe: str) -> dict[str, Any]:
    """A recipe's own values, as near to them as the space allows: the paper's steps are far more than a trial has."""
    optimisation = OPTIMISATION[recipe]
    own: dict[str, Any] = {
        "replay_ratio": 1.0, "surrogate": "noise", "update": "standard", "ewc_lambda": EWC_LAMBDA[recipe],
        "steps": optimisation.steps, "lr": optimisation.lr,
    }  # fmt: skip
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
