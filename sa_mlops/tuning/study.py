"""The Optuna study: its sampler, constraint, lost trials and finished trials."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sa_mlops.config import TuneConfig
from sa_mlops.registry import processes
from sa_mlops.tuning.front import Losses, on_front
from sa_mlops.tuning.space import recipe_values
from sa_mlops.tuning.storage import AGAIN, GRACE, StudyError, again, alone, one_line, open_storage

STARTUP = 12
"""Trials that TPE draws at random before it models; also NSGA-II's population."""
WORKER, RUN = "worker", "run"
"""User attributes of a trial: its worker's process (tags of `processes.identity`) and its MLflow run."""
SEARCH = "search"
"""User attribute of a study: its search space and starting versions."""


def quiet() -> None:
    """Silence Optuna's warnings of failed trials and experimental features; this package reports progress."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(place: str, name: str, config: TuneConfig, search: str, worker: int = 0) -> optuna.Study:
    """The study of that name; a new one begins with the values of the default recipe and of the paper.

    Raises StudyError if it cannot be opened, or has another search space.

    Parameters
    ----------
    search : the search space and starting versions as text; they cannot change within a study.
    worker : number of the worker; 0 is the command itself.
    """
    # Tables, study and queue are made once, however many commands begin at the same moment.
    with one_line(f"study {name}"), alone(place) if worker == 0 else nullcontext():
        study = optuna.create_study(
            storage=open_storage(place),
            sampler=make_sampler(config, worker),
            study_name=name,
            directions=directions(config),
            load_if_exists=True,
        )
        known = study.user_attrs.get(SEARCH)
        if known is None:
            study.set_user_attr(SEARCH, search)
        elif known != search:
            raise StudyError(
                f"study {name} has another search space; give --study another name, or its parameters: {known}"
            )
        if worker == 0:
            for recipe in (config.recipe, "paper"):
                study.enqueue_trial(recipe_values(config, recipe), skip_if_exists=True)
    return study


def make_sampler(config: TuneConfig, worker: int) -> optuna.samplers.BaseSampler:
    """The sampler of a config; no two workers draw the same numbers."""
    seed = (config.sampler_seed * 1_000_003 + worker) % 2**32
    match config.sampler:
        case "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=STARTUP, seed=seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case _:
            # constant_liar keeps workers away from values that others are trying.
            return optuna.samplers.TPESampler(n_startup_trials=STARTUP, constant_liar=True, seed=seed)


def directions(config: TuneConfig) -> list[StudyDirection]:
    """Gap down, retention up, and seconds down if they are an objective."""
    down, up = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
    return [down, up, *([down] if config.seconds else [])]


def needed(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether a trial that begins is among the first `wanted`, and repeats no lost trial that another repeats.

    All trials with smaller numbers are known when one begins.
    """
    trials = study.get_trials(deepcopy=False)
    earlier = trials[:number]
    lost = trials[number].user_attrs.get(AGAIN)
    if lost is not None and (
        trials[lost].state == TrialState.COMPLETE or any(t.user_attrs.get(AGAIN) == lost for t in earlier)
    ):
        return False
    live = (TrialState.COMPLETE, TrialState.RUNNING)
    return sum(t.state in live and t.number != lost for t in earlier) < wanted


def give_up(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Queue the values of a trial again and fail it; False if it had ended.

    In this order: otherwise another worker could fill the free place with new values. If the trial had ended, the
    queued values are not `needed`.
    """
    again(study, trial)
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    return True


def fail_lost(study: optuna.Study) -> list[FrozenTrial]:
    """Fail the running trials whose worker, a process of this machine, is gone, and queue their values again.

    In a database, trials without heartbeats are failed wherever they ran; a journal file has no heartbeats.
    """
    optuna.storages.fail_stale_trials(study)
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        fate = processes.fate(worker if isinstance(worker, dict) else {})
        started = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
        # A trial is signed milliseconds after it was asked for.
        dead = fate == "gone" or (fate == "unknown" and time.time() - started > GRACE)
        if dead and give_up(study, trial):
            lost.append(trial)
    return lost


@dataclass(frozen=True, slots=True)
class Finished:
    """The completed trials of a study, in the order of their numbers.

    Attributes
    ----------
    losses : (trials, 2 or 3): gap, minus retention, and seconds if they are an objective.
    feasible : (trials,), the constraint holds.
    front : (trials,), feasible and dominated by none.
    """

    trials: tuple[FrozenTrial, ...]
    losses: Losses
    feasible: NDArray[np.bool_]
    front: NDArray[np.bool_]

    @property
    def best(self) -> list[FrozenTrial]:
        """The trials of the front, by their gap."""
        return [self.trials[i] for i in sorted(np.flatnonzero(self.front), key=lambda i: self.losses[i, 0])]


def finished(study: optuna.Study) -> Finished:
    """The completed trials so far."""
    trials = tuple(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    signs = np.array([1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions])
    losses: Losses = np.array([t.values for t in trials], dtype=np.float64).reshape(-1, len(signs)) * signs
    feasible = np.array([all(v <= 0 for v in t.constraints.values()) for t in trials], dtype=bool)
    return Finished(trials, losses, feasible, on_front(losses, feasible))


def counts(study: optuna.Study) -> tuple[int, int]:
    """Numbers of complete and of running trials."""
    states = [t.state for t in study.get_trials(deepcopy=False)]
    return states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)
