"""A task of a job: a `sa-mlops` command in a process of its own, stopped cleanly on the scheduler's signal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from sa_mlops.cluster import records
from sa_mlops.registry import processes

POLL = 0.2
"""Seconds between two checks whether a task may start."""
PATIENCE = 60.0
"""Seconds that a stage has to stop."""


class TaskRun:
    """Callable that submitit pickles and the scheduler runs; it notes its state.

    A stage that is stopped ends its run as KILLED and registers nothing; a later attempt reuses finished versions.

    Parameters
    ----------
    folder : of the job.
    index : number of the task in the job.
    words : after `sa-mlops`.
    directory, environment : of the stage.
    slots : tasks of the job that may run at the same time; 0 if the scheduler decides.
    after : number of a task that has to end first; None if the scheduler decides.
    """

    def __init__(
        self,
        folder: Path,
        index: int,
        words: tuple[str, ...],
        directory: Path,
        environment: Mapping[str, str],
        slots: int = 0,
        after: int | None = None,
    ) -> None:
        self.folder, self.index, self.words = folder, index, words
        self.directory, self.environment = directory, dict(environment)
        self.slots, self.after = slots, after
        self.attempt = 0
        self.child = 0
        self.stopped = False

    def __call__(self) -> int:
        """Run the command; exits with its status unless it is 0, so that the scheduler knows it too."""
        # submitit's own handlers, installed before, ignore SIGTERM.
        signal.signal(signal.SIGTERM, self._stop)
        # A terminal's Ctrl-C is for the command that follows the job. The stage would inherit SIG_IGN.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        before = records.noted(self.folder, self.index)
        self.attempt = 1 + (before.attempt if before else 0)
        self._note("waiting")
        try:
            with self._turn():
                if self.stopped or records.cancelled(self.folder):
                    status = records.INTERRUPTED
                else:
                    self._note("running")
                    status = self._run()
        except Exception:  # also from submitit's signal handler, if it does not queue the task again
            self._note("ended", 1)
            raise
        self._note("ended", status)
        if status:
            sys.exit(status)
        return status

    def checkpoint(self) -> Any:
        """The callable for the next attempt. submitit calls this in its signal handler."""
        from submitit.helpers import DelayedSubmission

        self._stop(signal.SIGTERM, None)
        self._wait(PATIENCE)
        self._note("waiting")
        return DelayedSubmission(
            TaskRun(
                self.folder, self.index, self.words, self.directory, self.environment, self.slots, self.after
            )
        )

    def _note(self, stage: records.Stage, status: int | None = None) -> None:
        records.leave(self.folder, self.index, stage, self.attempt, status)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the task that comes first, then hold one of the slots."""
        while self.after is not None and not self.stopped and not self._first_has_ended(self.after):
            time.sleep(POLL)
        held = None
        while self.slots and held is None and not self.stopped:
            held = self._slot()
            if held is None:
                time.sleep(POLL)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def _first_has_ended(self, index: int) -> bool:
        note = records.noted(self.folder, index)
        return note is not None and (note.stage == "ended" or processes.fate(note.process) == "gone")

    def _slot(self) -> FileLock | None:
        for number in range(self.slots):
            lock = FileLock(self.folder / f"slot-{number}.lock")
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        return None

    def _run(self) -> int:
        inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_RUN_ID"}
        # SLURM signals every process of a task, and SIGUSR2 would kill the stage, which inherits this mask. submitit's
        # handler has to wait too until the child is known here.
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
        process = subprocess.Popen(
            [sys.executable, "-m", "sa_mlops", *self.words],
            cwd=self.directory,
            env=inherited | {"PYTHONUNBUFFERED": "1"} | self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.child = process.pid
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self.stopped:
            self._interrupt()
        self._wait()
        self.child = 0
        status = process.wait()
        if status and self.stopped:
            # The signal may have come before the stage could handle it.
            return records.INTERRUPTED
        return status if status >= 0 else 128 - status

    def _wait(self, seconds: float | None = None) -> None:
        """Wait for the end of the child without taking its status, for which `Popen` waits under a lock."""
        child = self.child
        deadline = None if seconds is None else time.monotonic() + seconds
        with contextlib.suppress(ChildProcessError):
            if deadline is None:
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
                return
            while child and os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                if time.monotonic() > deadline:
                    os.kill(child, signal.SIGKILL)
                    return
                time.sleep(POLL)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the stage to stop. It may have received the same signal itself; two count as one."""
        self.stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGINT)
