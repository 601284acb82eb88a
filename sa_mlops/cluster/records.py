"""What is known of the jobs that were submitted from a folder: a folder each, with one record and a note a task."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sa_mlops.parameters import ParameterError
from sa_mlops.registry import processes

FOLDER = Path(".sa-mlops") / "jobs"
"""Where records lie, beside the store that the current folder has by default."""
RECORD, CANCELLED = "job.json", "cancelled"
STARTING = 120.0
"""Seconds after which a task of this machine that has noted nothing counts as lost."""
INTERRUPTED = 130

Stage = Literal["waiting", "running", "ended"]
State = Literal["pending", "running", "done", "failed", "cancelled", "lost"]

PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset(
    {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
)
"""SLURM's words for jobs that are not over; of those that are, COMPLETED and CANCELLED are not failures."""


@dataclass(frozen=True, slots=True)
class Task:
    """One command of a job.

    Attributes
    ----------
    name : what tells it from the others, such as `digit=3`.
    words : after `sa-mlops`.
    job : the scheduler's name for it; empty until it has one.
    """

    name: str
    words: tuple[str, ...]
    job: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A record.

    Attributes
    ----------
    key : names it and its folder; sorts by time.
    created : seconds since 1970.
    """

    key: str
    entry: str
    target: str
    created: float
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What a task says of itself, from where it runs.

    Attributes
    ----------
    attempt : 1, and one more each time it was queued again.
    status : exit status, once ended.
    process : tags of `processes.identity`.
    """

    stage: Stage
    attempt: int
    status: int | None
    process: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A task with what has become of it."""

    task: Task
    state: State
    status: int | None
    attempts: int

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("pending", "running")

    @property
    def worst(self) -> int:
        """What it adds to the exit status of who follows it."""
        match self.state:
            case "failed":
                return self.status or 1
            case "cancelled":
                return INTERRUPTED
            case "lost":
                return 1
            case _:
                return 0


def home(key: str) -> Path:
    """The folder of a job; also submitit's."""
    return FOLDER.absolute() / key


def new(entry: str, target: str, tasks: tuple[Task, ...]) -> Job:
    """A record with its folder, which nobody else may read: submitit pickles into it what it later runs."""
    now = time.time()
    key = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{uuid.uuid4().hex[:6]}"
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    home(key).mkdir(mode=0o700)
    job = Job(key, entry, target, now, tasks)
    write(job)
    return job


def write(job: Job) -> None:
    """Write a record, whole or not at all."""
    _write(home(job.key) / RECORD, dataclasses.asdict(job))


def remove(job: Job) -> None:
    """Delete what a submission that failed has left."""
    shutil.rmtree(home(job.key), ignore_errors=True)


def every() -> list[Job]:
    """All records, oldest first; what is no record is left out."""
    found = (_read(path) for path in sorted(FOLDER.glob(f"*/{RECORD}")))
    return [job for job in found if job is not None]


def named(word: str) -> Job:
    """The job that a user means: its key, the scheduler's number of it, or `latest`.

    Raises
    ------
    ParameterError : if there is none.
    """
    jobs = every()
    if word == "latest" and jobs:
        return jobs[-1]
    for job in reversed(jobs):
        if word == job.key or word in {t.job.partition("_")[0] for t in job.tasks if t.job}:
            return job
    known = ", ".join(job.key for job in jobs[-3:])
    raise ParameterError(
        "job",
        word,
        f"latest or one of {known}" if known else "one after `sa-mlops submit`: there is none here",
    )


def _read(path: Path) -> Job | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        tasks = tuple(
            Task(str(t["name"]), tuple(map(str, t["words"])), str(t["job"])) for t in values["tasks"]
        )
        job = Job(
            str(values["key"]), str(values["entry"]), str(values["target"]), float(values["created"]), tasks
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return job if job.key == path.parent.name else None


def _write(path: Path, values: Any) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


# ---------------------------------------------------------------------- notes of tasks


def note_path(folder: Path, index: int) -> Path:
    """Where a task leaves its note."""
    return folder / f"task-{index}.json"


def leave(folder: Path, index: int, stage: Stage, attempt: int, status: int | None = None) -> None:
    """Leave a note; called by the task."""
    values = {"stage": stage, "attempt": attempt, "status": status, "process": processes.identity()}
    _write(note_path(folder, index), values)


def noted(folder: Path, index: int) -> Note | None:
    """The note of a task, None without one."""
    try:
        values = json.loads(note_path(folder, index).read_text(encoding="utf-8"))
        status = values["status"]
        return Note(
            values["stage"],
            int(values["attempt"]),
            None if status is None else int(status),
            {str(k): str(v) for k, v in values["process"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def cancelled(folder: Path) -> bool:
    """Whether the job was cancelled; a task asks before it starts anything."""
    return (folder / CANCELLED).exists()


# ---------------------------------------------------------------------- what has become of them


def look(job: Job, queue: Mapping[str, str]) -> list[Seen]:
    """What has become of the tasks of a job, in their order.

    Parameters
    ----------
    queue : SLURM's name of a task -> its word for the state, of those that SLURM knows.
    """
    folder = home(job.key)
    stopped = cancelled(folder)
    found = []
    for index, task in enumerate(job.tasks):
        note = noted(folder, index)
        if job.target == "slurm":
            state = _on_slurm(note, queue.get(task.job, ""), stopped)
        else:
            state = _here(note, stopped, time.time() - job.created)
        status = note.status if note is not None and state in ("done", "failed", "cancelled") else None
        found.append(Seen(task, state, status, note.attempt if note else 0))
    return found


def _on_slurm(note: Note | None, word: str, stopped: bool) -> State:
    # What SLURM says of a live task goes first: the note may be of an attempt that was preempted.
    if word in PENDING:
        return "pending"
    if word in RUNNING:
        return "running"
    if note is not None and note.stage == "ended":
        return _ended(note)
    if stopped or word == "CANCELLED":
        return "cancelled"
    return "failed" if word else "lost"


def _here(note: Note | None, stopped: bool, age: float) -> State:
    if note is None:
        return "cancelled" if stopped else "pending" if age < STARTING else "lost"
    if note.stage == "ended":
        return _ended(note)
    if processes.fate(note.process) == "gone":
        return "cancelled" if stopped else "lost"
    return "running" if note.stage == "running" else "pending"


def _ended(note: Note) -> State:
    return "done" if note.status == 0 else "cancelled" if note.status == INTERRUPTED else "failed"
