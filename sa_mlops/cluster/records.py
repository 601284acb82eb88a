"""Records of the jobs submitted from a folder: a subfolder per job, with a record and a note per task."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from sa_mlops.files import replacing
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import processes

FOLDER = Path(".sa-mlops") / "jobs"
"""Folder of the records, beside the default store."""
RECORD, CANCELLED = "job.json", "cancelled"
STARTING = 120.0
"""Seconds after which a task of this machine without a note counts as lost."""
INTERRUPTED = 130

Kind = TypeVar("Kind")
Stage = Literal["waiting", "running", "ended"]
State = Literal["pending", "running", "done", "failed", "cancelled", "lost"]

PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset(
    {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
)
"""SLURM's words for jobs that have not ended; of the others, COMPLETED and CANCELLED are not failures."""


@dataclass(frozen=True, slots=True)
class Task:
    """One command of a job.

    Attributes
    ----------
    name : its difference from the other tasks, such as `classes=3`.
    words : its words after `sa-mlops`.
    job : its name in the scheduler; empty before submission.
    """

    name: str
    words: tuple[str, ...]
    job: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The record of a job.

    Attributes
    ----------
    key : its name and that of its folder; sorts by time.
    created : seconds since 1970.
    """

    key: str
    entry: str
    target: str
    created: float
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """The state that a task notes where it runs.

    Attributes
    ----------
    attempt : 1, plus the number of times it was queued again.
    status : exit status if it has ended.
    process : tags of `processes.identity`.
    """

    stage: Stage
    attempt: int
    status: int | None
    process: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task and its state."""

    task: Task
    state: State
    status: int | None
    attempts: int

    @property
    def live(self) -> bool:
        """Whether it is pending or running."""
        return self.state in ("pending", "running")

    @property
    def worst(self) -> int:
        """Its share in the exit status of a command that follows the job."""
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
    """A new record with its folder, readable by its owner alone: submitit runs what lies pickled there."""
    now = time.time()
    key = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{uuid.uuid4().hex[:6]}"
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    home(key).mkdir(mode=0o700)
    job = Job(key, entry, target, now, tasks)
    write(job)
    return job


def write(job: Job) -> None:
    """Write a record atomically."""
    _write(home(job.key) / RECORD, dataclasses.asdict(job))


def remove(job: Job) -> None:
    """Delete the folder of a failed submission."""
    shutil.rmtree(home(job.key), ignore_errors=True)


def every() -> list[Job]:
    """All records, oldest first; unreadable ones are ignored."""
    found = (_read(path) for path in sorted(FOLDER.glob(f"*/{RECORD}")))
    return [job for job in found if job is not None]


def named(word: str) -> Job:
    """The job of a key or a number of the scheduler, or the `latest`. Raises ParameterError if there is none."""
    jobs = every()
    if word == "latest" and jobs:
        return jobs[-1]
    for job in reversed(jobs):
        if word == job.key or word in {t.job.partition("_")[0] for t in job.tasks if t.job}:
            return job
    known = ", ".join(job.key for job in jobs[-3:])
    allowed = (
        f"latest or one of {known}" if known else "the key of a job; none was submitted from this folder"
    )
    raise ParameterError("JOB", word, allowed)


def _read(path: Path) -> Job | None:
    job = _parsed(Job, path)
    return job if job is not None and job.key == path.parent.name else None


def _parsed(kind: type[Kind], path: Path) -> Kind | None:
    """The dataclass in a JSON file; None without one."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(path: Path, values: Any) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------- notes of tasks


def note_path(folder: Path, index: int) -> Path:
    """File of a task's note."""
    return folder / f"task-{index}.json"


def leave(folder: Path, index: int, stage: Stage, attempt: int, status: int | None = None) -> None:
    """Write the note of a task, from the task."""
    values = {"stage": stage, "attempt": attempt, "status": status, "process": processes.identity()}
    _write(note_path(folder, index), values)


def noted(folder: Path, index: int) -> Note | None:
    """The note of a task, None without one."""
    return _parsed(Note, note_path(folder, index))


def cancelled(folder: Path) -> bool:
    """Whether the job was cancelled; a task asks before it starts."""
    return (folder / CANCELLED).exists()


# ---------------------------------------------------------------------- states of tasks


def look(job: Job, queue: Mapping[str, str]) -> list[TaskState]:
    """The states of the tasks of a job, in their order.

    Parameters
    ----------
    queue : name of a task in SLURM -> SLURM's word for its state.
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
        found.append(TaskState(task, state, status, note.attempt if note else 0))
    return found


def _on_slurm(note: Note | None, word: str, stopped: bool) -> State:
    # For a live task SLURM is right: the note may belong to an attempt that was preempted.
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
