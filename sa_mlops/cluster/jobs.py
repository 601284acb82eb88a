"""`submit` and `jobs`: submit an entry point, and list, follow and cancel jobs."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from sa_mlops.cluster import records, schedulers
from sa_mlops.cluster.plan import plan
from sa_mlops.cluster.records import Job, Task, TaskState
from sa_mlops.cluster.task import TaskRun
from sa_mlops.config import EntryPoint, SubmitConfig
from sa_mlops.errors import Stopped
from sa_mlops.parameters import Value
from sa_mlops.registry.stopping import handled
from sa_mlops.stages.result import Result, table

POLL = 1.0
"""Seconds between two looks while following."""
CARRIED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "PYTHONPATH")
"""Variables that every task gets, but for values with a password: submitit writes them to a file."""
PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
SEPARATE_STORE = (
    "a sqlite store is safe only if all tasks run on one machine; docs/server.md shows a store for several"
)


Outcome = tuple[Result, int]
"""The result of a command, and its exit status."""


def submit(entry: EntryPoint, values: Mapping[str, Value], order: SubmitConfig) -> Outcome:
    """Submit an entry point.

    Raises ParameterError for a value that the entry point or the scheduler does not take; nothing is submitted;
    SchedulerError if the scheduler is missing or refuses.
    """
    found = plan(entry, values, order)
    if order.target == "slurm" and os.environ.get("MLFLOW_TRACKING_URI", "sqlite:").startswith("sqlite:"):
        say(SEPARATE_STORE)
    job = records.new(entry.name, order.target, tuple(Task(s.name, s.words) for s in found.ordered))
    here = order.target == "local"
    environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
    environment = {name: value for name, value in environment.items() if not PASSWORD.search(value)}
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(order.cpus))
    commands = [
        TaskRun(
            records.home(job.key), index, task.words, Path.cwd(), environment,
            slots=schedulers.order_slots(order) if here else 0,
            after=0 if here and found.upstream and index else None,
        )
        for index, task in enumerate(job.tasks)
    ]  # fmt: skip
    try:
        with _uninterrupted():
            try:
                ids = schedulers.submit(commands, order, f"sa-{entry.name}", first=found.upstream is not None)
            except BaseException:
                records.remove(job)
                raise
            job = replace(job, tasks=tuple(replace(t, job=i) for t, i in zip(job.tasks, ids, strict=True)))
            records.write(job)
        if not order.follow:
            return _shown([(job, _look(job))]), 0
        with _stoppable():
            return _followed(job)
    except (KeyboardInterrupt, Stopped):
        say(f"interrupted: cancelling {job.key}")
        schedulers.cancel(job)
        return _followed(job)


def listed() -> Outcome:
    """All jobs that were submitted from this folder."""
    jobs = records.every()
    queue = schedulers.queue(jobs)
    return _shown([(job, records.look(job, queue)) for job in jobs]), 0


def shown(word: str) -> Outcome:
    """One job."""
    job = records.named(word)
    return _shown([(job, _look(job))]), 0


def follow(word: str) -> Outcome:
    """Show the output of a job's tasks until the last one has ended; an interrupt does not stop the job."""
    job = records.named(word)
    try:
        with _stoppable():
            return _followed(job)
    except Stopped:
        say(f"no longer followed; {job.key} continues")
        return _shown([(job, _look(job))]), records.INTERRUPTED


def cancel(word: str) -> Outcome:
    """Cancel the tasks of a job that have not ended."""
    job = records.named(word)
    schedulers.cancel(job)
    return _shown([(job, _look(job))]), 0


def say(text: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C to the end of the block, so that submitted tasks are on record."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped inside, SIGINT even if it was ignored, as behind a shell's `&`."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    with handled(stop):
        yield


def _look(job: Job) -> list[TaskState]:
    return records.look(job, schedulers.queue([job]))


def _followed(job: Job) -> Outcome:
    tails = [Output(job, index) for index in range(len(job.tasks))]
    before: list[str] = [""] * len(job.tasks)
    trouble = ""
    while True:
        try:
            seen = _look(job)
        except schedulers.SchedulerError as error:
            # SLURM may be back soon, and the job runs without this command.
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)
            time.sleep(POLL)
            continue
        trouble = ""
        for index, one in enumerate(seen):
            state = _state(one)
            if state != before[index]:
                say(f"{one.task.name}: {state}")
                before[index] = state
            tails[index].show(last=not one.live)
        if not any(one.live for one in seen):
            break
        time.sleep(POLL)
    return _shown([(job, seen)]), max(one.worst for one in seen)


class Output:
    """Follows the output of a task."""

    def __init__(self, job: Job, index: int) -> None:
        self.label = f"[{job.tasks[index].name}] " if len(job.tasks) > 1 else ""
        self.paths = schedulers.logs(job, index)
        self.read = [0] * len(self.paths)

    def show(self, last: bool) -> None:
        """Print new complete lines; at the end of the task also an incomplete one."""
        for number, path in enumerate(self.paths):
            with suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(self.read[number])
                new = file.read()
                whole = new if last else new[: new.rfind(b"\n") + 1]
                self.read[number] += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    say(self.label + line)


def _shown(jobs: Sequence[tuple[Job, Sequence[TaskState]]]) -> Result:
    document: dict[str, Any] = {"jobs": [_document(job, seen) for job, seen in jobs]}
    rows = [
        [job.key if not i else "", job.entry, job.target, one.task.name, one.task.job, _state(one)]
        for job, seen in jobs
        for i, one in enumerate(seen)
    ]
    if not rows:
        return Result(
            document, "no jobs were submitted from this folder; submit one with sa-mlops submit ENTRY"
        )
    return Result(document, table(["job", "entry", "target", "task", "scheduler's name", "state"], rows))


def _state(one: TaskState) -> str:
    again = f", attempt {one.attempts}" if one.attempts > 1 else ""
    return one.state + (f" ({one.status})" if one.state == "failed" and one.status else "") + again


def _document(job: Job, seen: Sequence[TaskState]) -> dict[str, Any]:
    return {
        "job": job.key,
        "entry": job.entry,
        "target": job.target,
        "created": job.created,
        "folder": str(records.home(job.key)),
        "tasks": [
            {
                "task": one.task.name,
                "command": ["sa-mlops", *one.task.words],
                "id": one.task.job,
                "state": one.state,
                "status": one.status,
                "attempts": one.attempts,
            }
            for one in seen
        ],
    }
