"""Processes that run trials of one study; each can be killed at any moment without loss of a finished trial."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import optuna
import torch
from optuna.trial import FrozenTrial

from sa_mlops.config import TuneConfig
from sa_mlops.errors import CommandError, Stopped
from sa_mlops.registry import names, versions
from sa_mlops.registry.tracking import stoppable
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.objective import Bench, Objective

PATIENCE = 20.0
"""Seconds that workers have to stop when asked."""
FAILURES = 3
"""Workers that may die one after another without a finished trial between them before the command gives up."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know; it is sent to another process.

    Attributes
    ----------
    place, study, search : see `study.open_study`.
    experiment, parent : MLflow's ids of the experiment and of the run that the trials' runs are nested under.
    base, fisher : numbers of the versions that every trial starts from.
    after : see `study.enlist`.
    """

    config: TuneConfig
    place: str
    study: str
    search: str
    experiment: str
    parent: str
    base: int
    fisher: int
    after: int


class EnoughError(Exception):
    """A trial that is not needed: others are already at the last ones, or at its values."""


def work(job: Job, number: int) -> None:
    """Run trials until the study has as many as are wanted, or the command that started this process is gone."""
    studies.quiet()
    study = studies.open_study(job.place, job.study, job.config, job.search, worker=number)
    # Fresh versions of what is shared are there by now.
    ctx = Context.open(replace(job.config, fresh=False))
    bench = Bench(
        ctx,
        job.config,
        versions.get(ctx.client, names.GENERATORS, job.base),
        versions.get(ctx.client, names.FISHERS, job.fisher),
        Judges(ctx),
    )
    objective = Objective(bench, study, job.parent)

    def guarded(trial: optuna.Trial) -> tuple[float, ...]:
        if not studies.needed(study, trial.number, job.config.trials):
            raise EnoughError
        try:
            return objective(trial)
        except Stopped:
            studies.give_up(study, study.trials[trial.number])
            raise

    parent = multiprocessing.parent_process()
    while sum(studies.counts(study)) < job.config.trials and (parent is None or parent.is_alive()):
        try:
            study.optimize(guarded, n_trials=1, catch=(EnoughError,))
        except optuna.exceptions.UpdateFinishedTrialError:
            # Suspended for so long that others took it for dead; they have queued its values.
            continue


@contextlib.contextmanager
def quiet_stages() -> Iterator[None]:
    """Silence on standard error: what a stage says is for the one who runs that stage."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _process(job: Job, number: int, threads: int) -> None:
    """The main function of a worker process."""
    # A Ctrl-C at the terminal is for the leading command, which then asks its workers to stop.
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
    """A device for each worker: CUDA devices in turn where the choice is left open, else the one that was named."""
    found = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return [f"cuda:{i % found}" if found else device for i in range(workers)]


class Crew:
    """The workers of one command on this machine.

    Parameters
    ----------
    job : what they do; each gets its own device.
    study : to look after the trials of those that die.
    on_lost : told of each trial that died with its worker; its parameters are queued again by then.
    """

    def __init__(self, job: Job, study: optuna.Study, on_lost: Callable[[FrozenTrial], None]) -> None:
        self.job, self.study, self.on_lost = job, study, on_lost
        self.devices = deal(job.config.device, job.config.workers)
        self.threads = max(1, torch.get_num_threads() // job.config.workers)
        self.processes: dict[int, BaseProcess] = {}
        self.hired = job.after
        self.failures = 0
        self._done = 0

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Crew]:
        """Workers while inside; none afterwards, whatever happens."""
        try:
            yield self
        finally:
            self.dismiss()

    def tend(self) -> None:
        """Notice workers that died, fail their trials, and hire while there is more to do than workers.

        Raises
        ------
        StudyError : if workers keep dying and nothing gets done.
        """
        for slot, process in list(self.processes.items()):
            if process.exitcode is not None:
                del self.processes[slot]
                self.failures += process.exitcode != 0
        self._bury()
        complete, running = studies.counts(self.study)
        if complete > self._done:
            self._done, self.failures = complete, 0
        if self.failures >= FAILURES:
            raise studies.StudyError(
                f"{self.failures} workers died one after another; the study can be resumed"
            )
        for slot in range(self.job.config.workers):
            if complete + max(running, len(self.processes)) >= self.job.config.trials:
                break
            if slot not in self.processes:
                self._hire(slot)

    def _bury(self) -> None:
        for trial in studies.bury(self.study):
            self.on_lost(trial)

    def _hire(self, slot: int) -> None:
        job = replace(self.job, config=replace(self.job.config, device=self.devices[slot]))
        self.hired += 1
        # Spawned, because neither CUDA nor threads survive a fork.
        process = multiprocessing.get_context("spawn").Process(
            target=_process, args=(job, self.hired, self.threads), name=f"tune-{self.hired}", daemon=True
        )
        process.start()
        self.processes[slot] = process

    def dismiss(self) -> None:
        """Stop all workers: first by asking, then by force; what they were at is queued again."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
        self.processes.clear()
        self._bury()
