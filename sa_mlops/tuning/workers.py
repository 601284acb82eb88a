"""Worker processes of a study; killing one at any moment loses no finished trial."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import optuna
import torch

from sa_mlops.config import TuneConfig
from sa_mlops.errors import CommandError, Stopped
from sa_mlops.registry import names, versions
from sa_mlops.registry.stopping import stoppable
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.tuning.objective import Objective, TrialRunner
from sa_mlops.tuning.storage import StudyError
from sa_mlops.tuning.study import counts, fail_lost, give_up, needed, open_study, quiet

PATIENCE = 20.0
"""Seconds that workers have to stop."""
FAILURES = 3
"""Workers that may die without a finished trial between them before the command gives up."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The work of a worker, sent to its process.

    Attributes
    ----------
    place, study, search : see `study.open_study`.
    experiment, parent : MLflow's ids of the experiment and of the run above the trials' runs.
    base, fisher : numbers of the versions that every trial starts from.
    after : see `leader.enlist`.
    """

    config: TuneConfig
    place: str
    study: str
    search: str
    experiment: str
    parent: str
    base: int
    fisher: int | None
    after: int


class EnoughError(Exception):
    """A trial that is not needed: others run the last ones, or its values."""


def work(job: Assignment, number: int) -> None:
    """Run trials until the study is complete or the command that started this process is gone."""
    quiet()
    study = open_study(job.place, job.study, job.config, job.search, worker=number)
    # With --fresh, the command has made the shared versions by now.
    ctx = Context.open(replace(job.config, fresh=False))
    runner = TrialRunner(
        ctx,
        job.config,
        versions.get(ctx.client, names.GENERATORS, job.base),
        None if job.fisher is None else versions.get(ctx.client, names.FISHERS, job.fisher),
        Judges(ctx),
    )
    objective = Objective(runner, study, job.parent)

    def guarded(trial: optuna.Trial) -> tuple[float, ...]:
        if not needed(study, trial.number, job.config.trials):
            raise EnoughError
        try:
            return objective(trial)
        except Stopped:
            give_up(study, study.trials[trial.number])
            raise

    parent = multiprocessing.parent_process()
    while sum(counts(study)) < job.config.trials and (parent is None or parent.is_alive()):
        try:
            study.optimize(guarded, n_trials=1, catch=(EnoughError,))
        except optuna.exceptions.UpdateFinishedTrialError:
            # This process was suspended for so long that another one failed the trial and queued its values.
            continue


@contextlib.contextmanager
def quiet_stages() -> Iterator[None]:
    """Silence the stages on standard error."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _process(job: Assignment, number: int, threads: int) -> None:
    """The main function of a worker process."""
    # A Ctrl-C at the terminal reaches the command alone, which then stops its workers.
    os.setpgrp()
    os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ["MLFLOW_EXPERIMENT_ID"] = job.experiment
    torch.set_num_threads(threads)
    loud = sys.stderr
    try:
        with stoppable(), quiet_stages():
            mlflow.set_experiment(experiment_id=job.experiment)
            work(job, number)
    except (Stopped, KeyboardInterrupt):
        sys.exit(130)
    except CommandError as error:
        print(f"worker {number}: {error}", file=loud)
        sys.exit(1)


def deal(device: str, workers: int) -> list[str]:
    """A device for each worker: CUDA devices in turn for `auto` and `cuda`, else the named device."""
    found = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return [f"cuda:{i % found}" if found else device for i in range(workers)]


class Crew:
    """The workers of one command on this machine.

    Parameters
    ----------
    job : their work; each gets its own device.
    """

    def __init__(self, job: Assignment, study: optuna.Study) -> None:
        self.job, self.study = job, study
        self.devices = deal(job.config.device, job.config.workers)
        self.threads = max(1, torch.get_num_threads() // job.config.workers)
        self.processes: dict[int, BaseProcess] = {}
        self.hired = job.after
        self.failures = 0
        self._done = 0

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Crew]:
        """Stop all workers at the end of the block."""
        try:
            yield self
        finally:
            self.dismiss()

    def tend(self) -> None:
        """Fail the trials of workers that died, and start workers while there are more trials to run than workers.

        Raises StudyError if workers keep dying without a finished trial.
        """
        for slot, process in list(self.processes.items()):
            if process.exitcode is not None:
                del self.processes[slot]
                self.failures += process.exitcode != 0
        self._fail_lost()
        complete, running = counts(self.study)
        if complete > self._done:
            self._done, self.failures = complete, 0
        if self.failures >= FAILURES:
            raise StudyError(f"{self.failures} workers died one after another; the study can be resumed")
        for slot in range(self.job.config.workers):
            if complete + max(running, len(self.processes)) >= self.job.config.trials:
                break
            if slot not in self.processes:
                self._hire(slot)

    def _fail_lost(self) -> None:
        for trial in fail_lost(self.study):
            say(f"trial {trial.number} died with its worker; its values are queued again")

    def _hire(self, slot: int) -> None:
        job = replace(self.job, config=replace(self.job.config, device=self.devices[slot]))
        self.hired += 1
        # Neither CUDA nor threads survive a fork.
        process = multiprocessing.get_context("spawn").Process(
            target=_process, args=(job, self.hired, self.threads), name=f"tune-{self.hired}", daemon=True
        )
        process.start()
        self.processes[slot] = process

    def dismiss(self) -> None:
        """Stop all workers, by force after a while, and queue the values of their trials again."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
        self.processes.clear()
        self._fail_lost()
