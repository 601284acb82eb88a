"""Importance of the parameters of a study, from the values and results of its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

FEWEST = 4
"""Trials below which there is none."""


def shares(params: Sequence[Mapping[str, str]], target: Sequence[float]) -> dict[str, float]:
    """Parameter -> share of the explained variance (fANOVA), the largest first; empty if it cannot be told.

    Blocks, and imports Optuna.

    Parameters
    ----------
    params : of each trial. Only numeric ones that all trials have and that differ are weighed.
    target : the result of each trial.
    """
    shared = set.intersection(*map(set, params)) if params else set()
    values = {name: found for name in sorted(shared) if (found := _numbers([p[name] for p in params]))}
    if len(params) < FEWEST or len(values) < 2 or min(target) == max(target):
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines would stand on the screen
    spaces: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(
            min(found), max(found), log=min(found) > 0 and max(found) > 20 * min(found)
        )
        for name, found in values.items()
    }
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.create_trial(params={k: v[i] for k, v in values.items()}, distributions=spaces, value=goal)
            for i, goal in enumerate(target)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(spaces)))


def _numbers(words: Sequence[str]) -> list[float]:
    """The words as numbers; empty if one is no number, or all are equal."""
    try:
        found = [float(word) for word in words]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) and min(found) < max(found) else []
