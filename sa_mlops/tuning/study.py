"""The Optuna study: where it lives, what it searches, how it chooses, and what its trials say."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import sqlalchemy
from filelock import FileLock
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sa_mlops.config import TuneConfig
from sa_mlops.errors import CommandError
from sa_mlops.methods.selective_amnesia import EWC_LAMBDA, OPTIMISATION
from sa_mlops.tuning.front import Losses, on_front

RANGES: Mapping[str, tuple[float, float]] = {
    "ewc_lambda": (1e-1, 1e5),
    "replay_ratio": (1 / 16, 2.0),
    "lr": (3e-4, 3e-2),
}
"""Ranges on a logarithmic scale. Little replay and few steps are where the penalty has something to do."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "surrogate": ("noise", "grey"),
    "update": ("standard", "projected", "alternating"),
}

CLASS_DROP = 0.02
"""The constraint: no retained class loses more accuracy than this against the base."""
STARTUP = 12
"""Trials that TPE draws at random before it models; also NSGA-II's population."""

HEARTBEAT, GRACE = 15, 60
"""Seconds between a trial's signs of life in a database, and after how many without one it counts as dead."""
LEAD_GRACE = 120.0
"""Seconds without a sign of life after which another machine's leading command counts as gone."""

WORKER, RUN, AGAIN = "worker", "run", "again"
"""Keys of a trial's user attributes: who runs it, its MLflow run, and the number of the lost trial that it repeats."""
LEAD, SEARCH, COMMANDS = "lead", "search", "commands"
"""Keys of a study's user attributes: who leads it, what it searches, and how many commands have worked on it."""
CREW = 10_000
"""Workers that a command may hire before their numbers are those of the next command's."""
ALONE = int.from_bytes(b"sa-tune", "big")
"""The advisory lock in PostgreSQL that `alone` holds."""


class StudyError(CommandError):
    """The study cannot be opened. The message is one line."""


def quiet() -> None:
    """Leave progress to this package: Optuna warns of failed trials and of what is experimental in it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_storage(place: str) -> BaseStorage:
    """The storage at `place`: a journal file, or the URL of a database in which trials give signs of life.

    Raises
    ------
    StudyError : if it cannot be opened.
    """
    try:
        if place.endswith(".journal"):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(place))
        return RDBStorage(
            place,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=again,
        )
    except Exception as error:  # drivers, SQLAlchemy and the file system all raise their own kinds here
        raise _unusable(place, error) from error


@contextmanager
def alone(place: str) -> Iterator[None]:
    """Inside is one command at a time, of all that use this storage: to look at something and change it in one go.

    Raises
    ------
    StudyError : if the storage cannot be reached.
    """
    with ExitStack() as held:
        try:
            if place.endswith(".journal"):
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(f"{place}.alone"))
            else:
                # The lock is the connection's: whatever happens to this process, it ends with it.
                engine = sqlalchemy.create_engine(place, poolclass=sqlalchemy.NullPool)
                connection = held.enter_context(engine.connect())
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": ALONE})
        except Exception as error:  # drivers, SQLAlchemy and the file system all raise their own kinds here
            raise _unusable(place, error) from error
        yield


def _unusable(place: str, error: Exception) -> StudyError:
    return StudyError(f"study storage {place}: {' '.join(str(error).split())[:200]}")


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the values of a trial that died with its worker, also those that it had not asked for yet."""
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if values:
        study.enqueue_trial(values, user_attrs={AGAIN: trial.number}, skip_if_exists=False)


def give_up(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Queue the values of a trial again and fail it; False if it was over already.

    In this order, or another worker could find the trial's place empty and fill it with values of its own. What was
    queued in vain is not `needed`.
    """
    again(study, trial)
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    return True


def needed(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether a trial that begins is one of those that are wanted, and does not repeat what another repeats already.

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


def make_sampler(config: TuneConfig, worker: int) -> optuna.samplers.BaseSampler:
    """The sampler that the config names; workers must not draw the same numbers, whichever command hired them."""
    seed = (config.sampler_seed * 1_000_003 + worker) % 2**32
    match config.sampler:
        case "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=STARTUP, seed=seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case _:
            # constant_liar keeps workers away from what others are trying at the moment.
            return optuna.samplers.TPESampler(n_startup_trials=STARTUP, constant_liar=True, seed=seed)


def directions(config: TuneConfig) -> list[StudyDirection]:
    """Gap down, retention up, and seconds down where they count."""
    down, up = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
    return [down, up, *([down] if config.seconds else [])]


def distribution(name: str, config: TuneConfig) -> BaseDistribution:
    """What a searched parameter may be."""
    if name == "steps":
        return IntDistribution(min(config.steps), max(config.steps), log=True)
    if name in WORDS:
        return CategoricalDistribution(WORDS[name])
    low, high = RANGES[name]
    return FloatDistribution(low, high, log=True)


def default_values(config: TuneConfig) -> dict[str, Any]:
    """The recipe's own values, as near to them as the space allows."""
    recipe = OPTIMISATION[config.recipe]
    own = {"ewc_lambda": EWC_LAMBDA[config.recipe], "steps": recipe.steps, "lr": recipe.lr}
    return _inside(config, own)


def paper_values(config: TuneConfig) -> dict[str, Any]:
    """The paper's values, as near to them as the space allows: its steps are far more than a trial has."""
    recipe = OPTIMISATION["paper"]
    return _inside(config, {"ewc_lambda": EWC_LAMBDA["paper"], "steps": recipe.steps, "lr": recipe.lr})


def _inside(config: TuneConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    every = {"replay_ratio": 1.0, "surrogate": "noise", "update": "standard", **values}
    out = {}
    for name in config.searched:
        d = distribution(name, config)
        out[name] = every[name] if isinstance(d, CategoricalDistribution) else _clamp(every[name], d)
    return out


def _clamp(value: float, d: BaseDistribution) -> float:
    if not isinstance(d, IntDistribution | FloatDistribution):
        raise TypeError(d)
    return type(d.low)(min(max(value, d.low), d.high))


def open_study(place: str, name: str, config: TuneConfig, search: str, worker: int = 0) -> optuna.Study:
    """The study of that name, made if it is not there, with the default and the paper's values queued first.

    Parameters
    ----------
    search : what is searched, from which versions; a study keeps to one.

    Raises
    ------
    StudyError : if it cannot be opened, or searches something else.
    """
    try:
        # Tables, study and queue are made once, however many commands begin at the same moment.
        with alone(place) if worker == 0 else nullcontext():
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
                    f"study {name} searches something else; give --study another name, or its parameters: {known}"
                )
            if worker == 0:
                for values in (default_values(config), paper_values(config)):
                    study.enqueue_trial(values, skip_if_exists=True)
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(f"study {name}: {' '.join(str(error).split())[:200]}") from error
    return study


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


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be told from a later one with the same number."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        me = psutil.Process()
        return cls(socket.gethostname(), me.pid, me.create_time())

    @property
    def local(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; ask only if it is local."""
        try:
            found = psutil.Process(self.pid)
            return found.create_time() == self.started and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def spelled(self) -> list[Any]:
        """As JSON."""
        return [self.host, self.pid, self.started]


def bury(study: optuna.Study) -> list[FrozenTrial]:
    """Fail the running trials whose worker, a process of this machine, is gone, and queue their parameters again.

    Where trials give signs of life, in a database, those that stopped to give any are failed wherever they ran; a
    journal file has no such signs.
    """
    optuna.storages.fail_stale_trials(study)
    gone = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        spelled = trial.user_attrs.get(WORKER)
        if spelled is None:
            # Between asking for a trial and signing it lie milliseconds.
            age = time.time() - trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if age < GRACE:
                continue
        else:
            worker = Process(*spelled)
            if not worker.local or worker.alive:
                continue
        if give_up(study, trial):
            gone.append(trial)
    return gone


@dataclass(frozen=True, slots=True)
class Lead:
    """The command that draws the conclusions of a study; others only lend it workers."""

    run: str
    process: Process
    seen: float

    @property
    def alive(self) -> bool:
        """Whether it still leads: on this machine by its process, elsewhere by its last sign of life."""
        if self.process.local:
            return self.process.alive
        return time.time() - self.seen < LEAD_GRACE


def lead_of(study: optuna.Study) -> Lead | None:
    """Who leads a study; None if nobody ever did."""
    found = study.user_attrs.get(LEAD)
    return None if found is None else Lead(found["run"], Process(*found["process"]), found["seen"])


def sign_lead(study: optuna.Study, run: str) -> None:
    """Give a sign of life as the one that leads."""
    study.set_user_attr(LEAD, {"run": run, "process": Process.this().spelled(), "seen": time.time()})


def take_lead(study: optuna.Study, place: str, run: str) -> Lead | None:
    """Lead, unless another command does: who, or None if it is this one now."""
    with alone(place):
        found = lead_of(study)
        if found is not None and found.alive and found.run != run:
            return found
        sign_lead(study, run)
    return None


def enlist(study: optuna.Study, place: str) -> int:
    """The number after which a command counts its workers: others' have other numbers, and draw other values."""
    with alone(place):
        commands = int(study.user_attrs.get(COMMANDS, 0))
        study.set_user_attr(COMMANDS, commands + 1)
    return commands * CREW


@dataclass(frozen=True, slots=True)
class Outcome:
    """The finished trials of a study, in the order of their numbers.

    Attributes
    ----------
    trials : complete ones.
    losses : (trials, 2 or 3): gap, minus retention, and seconds where they count.
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


def losses_of(values: Sequence[Sequence[float]], study: optuna.Study) -> Losses:
    """Values of trials as losses (trials, objectives): those that are maximised with a minus."""
    signs = np.array([1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions])
    losses: Losses = np.array(values, dtype=np.float64).reshape(len(values), len(signs)) * signs
    return losses


def outcome(study: optuna.Study) -> Outcome:
    """What a study has found so far."""
    trials = tuple(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    losses = losses_of([t.values for t in trials], study)
    feasible = np.array([all(v <= 0 for v in t.constraints.values()) for t in trials], dtype=bool)
    return Outcome(trials, losses, feasible, on_front(losses, feasible))


def counts(study: optuna.Study) -> tuple[int, int]:
    """How many trials are complete, and how many run."""
    states = [t.state for t in study.get_trials(deepcopy=False)]
    return states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)
