"""Python programs in processes forked from one that has imported everything: without the seconds of their imports.

For tests and campaigns that start many commands. Apart from the imports a program is `python` with its arguments.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    *("matplotlib.backends.backend_agg", "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store"),
    *(
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.pyfunc",
        "sa_mlops.cli",
        "sa_mlops.operate.doctor",
    ),
    *("sa_mlops.stages.forget", "sa_mlops.stages.judge", "encodings.ascii"),
)
"""Modules that are imported once, before the first fork."""
_ready_now = False


class Program:
    """A running program, with the methods of `subprocess.Popen` for it."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self.pid = int(process.pid or 0)

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Exit status if it has ended, else None."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit status once it has ended; raises TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path | None = None
) -> Program:
    """Start `python ARGUMENTS` (`-m MODULE`, `-c CODE` or a file first) in a session of its own.

    It ends with this process at the latest, and may not use `multiprocessing` itself.

    Parameters
    ----------
    folder : where it works.
    environment : all of its variables.
    out, err : files for its output, which is added to their ends; without `err` both go to `out`.
    """
    context = multiprocessing.get_context("forkserver")
    _ready()
    process = context.Process(
        target=_run, args=(list(arguments), str(folder), dict(environment), str(out), str(err or out)),
        daemon=True,
    )  # fmt: skip
    process.start()
    return Program(process)


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; one that takes longer is killed, and TimeoutExpired raised."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        program = start(arguments, folder, environment, out, err)
        try:
            status = program.wait(timeout)
        finally:
            program.kill()
        return subprocess.CompletedProcess(list(arguments), status, out.read_text(), err.read_text())


def _ready() -> None:
    """Start the process that all programs are forked from."""
    global _ready_now
    if _ready_now:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(MODULES))
    before = os.environ.get("PYTHONPATH")
    # Its own path does not have this checkout yet.
    os.environ["PYTHONPATH"] = str(ROOT) if not before else os.pathsep.join([str(ROOT), before])
    # A Ctrl-C waits until a program has begun. The tracker comes first: it would let it through again.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    _ready_now = True


def _run(arguments: list[str], folder: str, environment: dict[str, str], out: str, err: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for path, number in ((out, 1), (err, 2)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    first, *rest = arguments
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(first).parent))
            runpy.run_path(first, run_name="__main__")
    except KeyboardInterrupt:
        # Before or after the command's own handlers, as Python itself ends.
        sys.exit(130)
    finally:
        atexit._run_exitfuncs()
