"""What is known of submitted jobs, and what follows from it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sa_mlops.cluster import records
from sa_mlops.cluster.records import Job, Task, TaskState
from sa_mlops.parameters import ParameterError


def made(target: str = "slurm", tasks: int = 1) -> Job:
    return records.new(
        "fim", target, tuple(Task(f"seed={i}", ("fim", f"--seed={i}"), f"7_{i}") for i in range(tasks))
    )


def seen(job: Job, **queue: str) -> TaskState:
    return records.look(job, {name.replace("job", "7"): word for name, word in queue.items()})[0]


def test_a_record_is_read_as_it_was_written() -> None:
    jobs = [made(tasks=2), made("local")]
    assert sorted(records.every(), key=lambda j: j.key) == sorted(jobs, key=lambda j: j.key)


def test_nobody_else_may_read_the_folder_of_a_job() -> None:
    assert stat.S_IMODE(records.home(made().key).stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": "other", "tasks": []}', "\x00"])
def test_files_that_are_no_records_are_left_out(text: str) -> None:
    job = made()
    (records.home(job.key) / records.RECORD).write_text(text)
    assert records.every() == []


def test_a_job_has_three_names() -> None:
    job = made(tasks=2)
    assert records.named(job.key) == records.named("latest") == records.named("7") == job


@pytest.mark.parametrize("word", ["", "..", "8", "7_0", "latest"])
def test_a_job_that_is_not_there_is_refused(word: str) -> None:
    if word != "latest":
        made()
    with pytest.raises(ParameterError, match=r"^JOB: "):
        records.named(word)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", "pending"),
        ("REQUEUED", "pending"),
        ("RUNNING", "running"),
        ("COMPLETING", "running"),
        ("CANCELLED", "cancelled"),
        ("TIMEOUT", "failed"),
        ("NODE_FAIL", "failed"),
        ("OUT_OF_MEMORY", "failed"),
        ("", "lost"),
    ],
)
def test_slurms_word_decides_where_a_task_has_said_nothing(word: str, state: str) -> None:
    assert seen(made(), **({"job_0": word} if word else {})).state == state


@pytest.mark.parametrize(("status", "state"), [(0, "done"), (1, "failed"), (2, "failed"), (130, "cancelled")])
def test_the_last_state_of_a_task_outlives_slurms_memory(status: int, state: str) -> None:
    job = made()
    records.leave(records.home(job.key), 0, "ended", 1, status)
    assert (seen(job).state, seen(job).status, seen(job).worst) == (state, status, status)


def test_a_task_that_was_stopped_and_is_queued_again_is_pending() -> None:
    job = made()
    records.leave(records.home(job.key), 0, "ended", 1, 130)
    assert seen(job, job_0="PENDING").live


def test_a_task_here_whose_process_is_gone_is_lost() -> None:
    job = made("local")
    code = (
        "import sys; from pathlib import Path; from sa_mlops.cluster import records\n"
        "records.leave(Path(sys.argv[1]), 0, 'running', 1)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(records.home(job.key))],
        check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert seen(job).state == "lost"
    assert seen(job).worst == 1


def test_a_task_here_that_runs_is_running() -> None:
    job = made("local")
    records.leave(records.home(job.key), 0, "running", 1)
    assert seen(job).state == "running"
