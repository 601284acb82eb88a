"""The schedulers: submitit submits jobs, SLURM's own commands list and cancel them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sa_mlops.cluster import records
from sa_mlops.cluster.records import Job
from sa_mlops.cluster.task import TaskRun
from sa_mlops.config import SubmitConfig
from sa_mlops.errors import CommandError
from sa_mlops.registry import processes

REQUEUES = 3
"""Times that a task is queued again after its time limit."""
NOTICE = 90
"""Seconds before its time limit at which a task gets a signal."""
ANSWER = 60.0
"""Seconds to wait for an answer of SLURM."""


class SchedulerError(CommandError):
    """A scheduler is missing or refuses. The message is one line."""


def submit(commands: Sequence[TaskRun], order: SubmitConfig, name: str, first: bool) -> list[str]:
    """Submit commands; their names in the scheduler.

    Raises SchedulerError if submitit or SLURM is missing, or SLURM refuses.

    Parameters
    ----------
    name : of the job in the scheduler's lists.
    first : whether the first command has to end before the others start.
    """
    try:
        import submitit
    except ImportError:
        raise SchedulerError("submitit is not installed: pip install 'sa-mlops[slurm]'") from None
    folder = commands[0].folder
    if order.target == "local":
        executor: Any = submitit.LocalExecutor(folder, max_num_timeout=REQUEUES)
        waves = -(-len(commands) // order_slots(order))
        executor.update_parameters(
            timeout_min=order.minutes * waves, gpus_per_node=order.gpus, signal_delay_s=_notice(order)
        )
        with _apart():
            return [str(job.job_id) for job in executor.submit_array(commands)]
    if shutil.which("sbatch") is None:
        raise SchedulerError("sbatch is not on PATH: no SLURM here; --target local runs on this machine")
    groups = [commands[:1], commands[1:]] if first else [commands]
    ids: list[str] = []
    for group in groups:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES)
        chosen: dict[str, Any] = {
            "job_name": name,
            "time": order.minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": order.cpus,
            "mem": f"{order.memory}GB",
            "signal_delay_s": _notice(order),
            "array_parallelism": order.parallel or len(group),
            "additional_parameters": {"requeue": True},
        }
        if order.partition is not None:
            chosen["partition"] = order.partition
        if order.gpus:
            chosen["gpus_per_node"] = order.gpus
        if ids:
            # Even if the first one fails: the others then report what they lack.
            chosen["dependency"] = f"afterany:{ids[0]}"
        executor.update_parameters(**chosen)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                ids += [str(job.job_id) for job in executor.submit_array(group)]
        except RuntimeError as error:  # submitit's own, also for a refusal by sbatch
            if ids:
                _slurm("scancel", *ids)
            raise SchedulerError(f"sbatch: {_line(str(error))}") from error
    return ids


def order_slots(order: SubmitConfig) -> int:
    """Number of tasks that run at the same time on this machine."""
    return order.parallel or 1


def _notice(order: SubmitConfig) -> int:
    return min(NOTICE, 30 * order.minutes)


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Detach processes started inside from this command's pipes and from the terminal's signals."""
    kept = [os.dup(number) for number in (0, 1, 2)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def queue(jobs: Sequence[Job]) -> dict[str, str]:
    """Name in SLURM -> its word for the state, for the tasks of these jobs that SLURM still knows.

    Raises SchedulerError if SLURM does not answer.
    """
    numbers = sorted({t.job.partition("_")[0] for j in jobs if j.target == "slurm" for t in j.tasks if t.job})
    if not numbers:
        return {}
    done = _slurm(
        "squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={','.join(numbers)}"
    )
    if done.returncode != 0:
        if "Invalid job id" in done.stderr:
            # The job ended long ago.
            return {}
        raise SchedulerError(f"squeue: {_line(done.stderr)}")
    rows = (line.strip().split("|") for line in done.stdout.splitlines())
    return {row[0]: row[1].split()[0] for row in rows if len(row) == 2 and row[1]}


def cancel(job: Job) -> None:
    """Cancel all tasks of a job: pending ones do not start, running ones end their stage.

    Raises SchedulerError if SLURM does not answer, or a task runs on another machine.
    """
    folder = records.home(job.key)
    (folder / records.CANCELLED).touch()
    if job.target == "slurm":
        numbers = sorted({t.job.partition("_")[0] for t in job.tasks if t.job})
        done = _slurm("scancel", *numbers) if numbers else None
        if done is not None and done.returncode != 0 and "Invalid job id" not in done.stderr:
            raise SchedulerError(f"scancel: {_line(done.stderr)}")
        return
    for index in range(len(job.tasks)):
        note = records.noted(folder, index)
        if note is None or note.stage == "ended":
            continue
        match processes.fate(note.process):
            case "alive":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(note.process[processes.PID]), signal.SIGTERM)
            case "elsewhere":
                raise SchedulerError(
                    f"{job.tasks[index].name} runs on {note.process[processes.HOST]}; cancel it there"
                )
            case _:
                pass


def _slurm(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=ANSWER)
    except FileNotFoundError:
        raise SchedulerError(f"{words[0]} is not on PATH: no SLURM here") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{words[0]} does not answer") from None


def _line(text: str) -> str:
    said = [line.split("error: ", 1)[-1].strip() for line in text.splitlines() if line.strip()]
    return said[-1][:200] if said else "refused"


def logs(job: Job, index: int) -> list[Path]:
    """The files of a task's standard output and standard error."""
    return [records.home(job.key) / f"{job.tasks[index].job}_0_log.{end}" for end in ("out", "err")]
