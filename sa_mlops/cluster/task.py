"""What a job runs: a `sa-mlops` command in a process of its own, ended cleanly when the scheduler says so."""

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
"""Seconds between two looks at what a task waits for."""
PATIENCE = 60.0
"""Seconds that a stage has to end when asked."""


class Command:
    """Callable that submitit pickles, and runs where the scheduler puts it.

    It says in a note how far it is. A stage that is stopped ends its run as KILLED and registers nothing; run again it
    reuses every version that was finished.

    Parameters
    ----------
    folder : of the job.
    index : number of the task in the job.
    words : after `sa-mlops`.
    directory, environment : the submitter's folder, and what has to be in the stage's environment.
    slots : tasks of the job that may run at once; 0 where the scheduler sees to that.
    after : number of a task that has to end first, where the scheduler does not see to that.
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
        """Run the command; exits with its status if that is not 0, so that the scheduler knows as well."""
        # After submitit's own handlers, which leave SIGTERM to be ignored.
        signal.signal(signal.SIGTERM, self._stop)
        # A terminal's Ctrl-C is for who follows the job. Not SIG_IGN: the stage would inherit that.
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
        except Exception:  # also submitit's, from its signal handler, where it does not queue the task again
            self._note("ended", 1)
            raise
        self._note("ended", status)
        if status:
            sys.exit(status)
        return status

    def checkpoint(self) -> Any:
        """What runs when the task is queued again: the same. Called by submitit from its signal handler."""
        from submitit.helpers import DelayedSubmission

        self._stop(signal.SIGTERM, None)
        self._wait(PATIENCE)
        self._note("waiting")
        return DelayedSubmission(
            Command(
                self.folder, self.index, self.words, self.directory, self.environment, self.slots, self.after
            )
        )

    def _note(self, stage: records.Stage, status: int | None = None) -> None:
        records.leave(self.folder, self.index, stage, self.attempt, status)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for what comes first, then for one of the slots, and keep it."""
        while self.after is not None and not self.stopped and not self._first_is_over(self.after):
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

    def _first_is_over(self, index: int) -> bool:
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
        # SLURM signals every process of a task, and SIGUSR2 would end the stage on the spot; a mask is inherited. Until
        # the child is known here, submitit's handler has to wait as well.
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
            # Also where the signal came before the stage could listen.
            return records.INTERRUPTED
        return status if status >= 0 else 128 - status

    def _wait(self, seconds: float | None = None) -> None:
        """Until the child is over, without taking its status: `Popen` waits for that under a lock."""
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
        """Ask the stage to end. It may have got the same signal itself, and takes both for one."""
        self.stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGINT)
