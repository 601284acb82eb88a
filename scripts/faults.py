"""Inject faults at random points of real runs: `python scripts/faults.py --count 200 --seed 0`.

A fault is survived if afterwards no version is incomplete, no alias has moved, every run's status is true (after
`doctor --fix` if the process was killed), older files are unchanged, and the same command succeeds.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import brief
import warm
from crowd import DIGITS, FISHER
from invariants import aftermath, state

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "SIGINT": 5, "SIGTERM": 5, "SIGKILL": 6, "nan": 1, "locked": 1, "held": 1, "readonly": 1, "full": 1, "restart": 1,
    "clock": 1,
}  # fmt: skip
"""Kind -> relative frequency. `locked`: the store for two seconds; `held`: the store until the run gives up; `restart`:
the tracking server during a run; `clock`: the wall clock jumps by up to a year during a run."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
SPEECHLESS = ("SIGKILL", "held")
"""Kinds that may leave a run RUNNING until `doctor --fix`: the process could not close it."""
NOBODY = 65_534
DEADLINE = 300
Job = Callable[[], object]


@dataclass(slots=True)
class Forked:
    """A forked process with a pipe for its standard error."""

    pid: int
    log: Path

    def wait(self, seconds: float = DEADLINE) -> int:
        """Exit status, negative for a signal; a process that hangs is killed and counts as -999."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return -999


@dataclass(slots=True)
class Fault:
    """One fault and its consequences; survived if `wrong` is empty."""

    number: int
    kind: str
    after: float
    status: int
    running_before_fix: int = 0
    wrong: list[str] = field(default_factory=list)


class ForkedStore:
    """A store with judges and a base, on which commands run in forked processes.

    Heavy imports happen once, before the first fork; no process but a forked one opens the store.

    Parameters
    ----------
    folder : of the store.
    given : folder of another store with judges and a base as version 1, which is copied; else both are made.
    steps : of a `forget`.
    """

    def __init__(self, folder: Path, given: Path | None, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.lambdas = 0
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        if given is not None:
            shutil.copytree(given, folder, dirs_exist_ok=True)
            from sa_mlops.registry import stores

            self.ask(lambda: stores.correct_places(folder / "mlflow.db"))
        for name in ("judge", "base") if given is None else ():
            words = (*DIGITS, "--steps", "60") if name == "base" else DIGITS
            if self.run(name, *words).wait() != 0:
                raise SystemExit(f"{name} failed:\n{self.last_log}")
        start = time.monotonic()
        if self.forget(self.fresh_lambda()).wait() != 0:
            raise SystemExit(f"forget failed:\n{self.last_log}")
        self.seconds = time.monotonic() - start

    @property
    def last_log(self) -> str:
        """Standard error of the last command."""
        return (self.folder / "stderr").read_text(errors="replace")[-3000:]

    def fork(self, job: Job) -> Forked:
        """Run `job` in a child; its return value is the exit status."""
        log = self.folder / "stderr"
        pid = os.fork()
        if pid:
            return Forked(pid, log)
        status: object = 70
        try:
            for name in ("SIGINT", "SIGTERM"):
                signal.signal(
                    getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
                )
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(descriptor, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = job()
            atexit._run_exitfuncs()
        except KeyboardInterrupt:
            # Before or after the command's own handlers, as Python itself ends.
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status if isinstance(status, int) else 0)

    def run(self, *words: str, before: Job | None = None) -> Forked:
        """Run the command in a child, after `before`."""
        from sa_mlops.cli import main

        def job() -> int:
            if before is not None:
                before()
            return main(words)

        return self.fork(job)

    def fresh_lambda(self) -> str:
        """A new weight, so that no registered version can be reused."""
        self.lambdas += 1
        return str(10 + self.lambdas / 1000)

    def forget(self, weight: str, before: Job | None = None) -> Forked:
        """A short but complete `forget`."""
        words = ("--from-version", "1", "--steps", str(self.steps), *FISHER, "--ewc-lambda", weight)
        return self.run("forget", *DIGITS, *words, before=before)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Result of a function that opens the store in a child; a string that begins with `!` is an error."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)

        def job() -> int:
            answer.write_text(json.dumps(question()))
            return 0

        status = self.fork(job).wait()
        return json.loads(answer.read_text()) if status == 0 else f"! {self.last_log}"


def files_of(folder: Path) -> dict[str, str]:
    """Hash of every weights file under a store."""
    paths = sorted(folder.glob("mlruns/**/weights.safetensors"))
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def one(store: ForkedStore, number: int, kind: str, rng: random.Random, before: dict[str, Any]) -> Fault:
    """Inject one fault into a store in the state `before`, check everything, and run the same command again.

    Afterwards `before` holds the new state.
    """
    files = files_of(store.folder)
    weight = store.fresh_lambda()
    after = rng.uniform(0, 1.02 * store.seconds)
    with INJECT[kind](store, weight, after, rng) as status:
        outcome = Fault(number, kind, round(after, 2), status)
        wrong = outcome.wrong
        log = store.last_log
    if status not in EXPECTED[kind]:
        wrong.append(f"exit status {status}: {log[-600:]}")
    if "Traceback" in log:
        wrong.append(f"a traceback: {log[-1500:]}")
    found = store.ask(aftermath)
    if isinstance(found, str):
        wrong.append(f"the store cannot be read after the fault: {found}")
        return outcome
    left, fixed = found["left"], found["fixed"]
    outcome.running_before_fix = len(left["running"])
    if left["running"] and kind not in SPEECHLESS:
        wrong.append(f"{len(left['running'])} runs stay RUNNING with exit status {status}: {log[-300:]}")
    if found["wrong"]:
        wrong.append(f"doctor: {found['wrong']}")
    if fixed["running"]:
        wrong.append("runs stay RUNNING after doctor --fix")
    wrong += fixed["broken"]
    if fixed["aliases"] != before["aliases"] or fixed["events"] != before["events"]:
        wrong.append(f"aliases moved: {before['aliases']} -> {fixed['aliases']}")
    if not before["versions"].items() <= fixed["versions"].items():
        wrong.append("an older version is missing, or its run's status has changed")
    now = files_of(store.folder)
    if any(now.get(path) != digest for path, digest in files.items()):
        wrong.append("weights of an older version have changed")
    if (again := store.forget(weight).wait()) != 0:
        wrong.append(f"the next run ends with {again}: {store.last_log[-600:]}")
    finished = store.ask(state)
    if isinstance(finished, str):
        wrong.append(f"the store cannot be read after the next run: {finished}")
        return outcome
    made = set(finished["versions"]) - set(before["versions"])
    if sum("sa-cvae" in uri for uri in made) != 1 or finished["broken"]:
        wrong.append(f"fault and next run together made {sorted(made)}, broken {finished['broken']}")
    before |= finished
    return outcome


@contextlib.contextmanager
def _signal(store: ForkedStore, weight: str, after: float, name: str) -> Iterator[int]:
    child = store.forget(weight)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, getattr(signal, name))
    yield child.wait()


@contextlib.contextmanager
def _nan(store: ForkedStore, weight: str, _after: float, rng: random.Random) -> Iterator[int]:
    step = rng.randint(1, store.steps)

    def poison() -> None:
        from sa_mlops.methods.selective_amnesia import training as amnesia

        healthy, calls = amnesia.objective, 0

        def objective(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            forget, remember = healthy(*arguments, **named)
            return (forget * float("nan") if calls == step else forget), remember

        amnesia.objective = objective

    yield store.forget(weight, before=poison).wait()


def _locker(store: ForkedStore, seconds: float) -> Forked:
    def job() -> int:
        database = sqlite3.connect(store.folder / "mlflow.db", timeout=60)
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        database.rollback()
        return 0

    return store.fork(job)


@contextlib.contextmanager
def _locked(store: ForkedStore, weight: str, after: float, seconds: float) -> Iterator[int]:
    child = store.forget(weight)
    time.sleep(after)
    locker = _locker(store, seconds)
    status = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.kill(locker.pid, signal.SIGKILL)
    locker.wait()
    yield status


@contextlib.contextmanager
def _readonly(store: ForkedStore, weight: str, _after: float, _rng: random.Random) -> Iterator[int]:
    """The store's folder as seen by a user who may only read it."""
    paths = [store.folder, *store.folder.rglob("*")]
    modes = {p: p.stat().st_mode for p in paths}
    for p in paths:
        p.chmod(0o555 if p.is_dir() else 0o444)
    (store.folder / "stderr").chmod(0o666)

    def drop() -> None:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    try:
        yield store.forget(weight, before=drop).wait()
    finally:
        for p, mode in modes.items():
            p.chmod(mode)


@contextlib.contextmanager
def _full(store: ForkedStore, weight: str, _after: float, rng: random.Random) -> Iterator[int]:
    """The artifacts' folder on a tmpfs with too little room for a run, if it can be mounted."""
    room = rng.randint(4_000, 900_000)
    # Older versions stay in place; new files go to the small disk.
    small = store.folder / "small"
    small.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={room}".encode()
    if libc.mount(b"tmpfs", str(small).encode(), b"tmpfs", 0, options):
        yield SKIPPED
        return
    uri = (store.folder / "mlflow.db").as_posix()
    with contextlib.closing(sqlite3.connect(uri, timeout=60)) as database:
        newest = "SELECT experiment_id, artifact_location FROM experiments ORDER BY experiment_id DESC"
        number, usual = database.execute(newest).fetchone()

    def locate(place: str) -> None:
        with contextlib.closing(sqlite3.connect(uri, timeout=60)) as database, database:
            sql = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
            database.execute(sql, (place, number))

    try:
        locate(str(small))
        yield store.forget(weight).wait()
    finally:
        locate(usual)
        libc.umount2(str(small).encode(), 2)


@contextlib.contextmanager
def _restart(store: ForkedStore, weight: str, after: float, rng: random.Random) -> Iterator[int]:
    """The store behind MLflow's server, which is killed and restarted up to two seconds later."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = _serve(store, port)
    try:
        url = f"http://127.0.0.1:{port}"
        child = store.forget(weight, before=lambda: os.environ.update(MLFLOW_TRACKING_URI=url))
        time.sleep(after)
        _stop(server)
        time.sleep(rng.uniform(0, 2))
        server = _serve(store, port)
        yield child.wait()
    finally:
        _stop(server)


def _serve(store: ForkedStore, port: int) -> subprocess.Popen[bytes]:
    """MLflow's server on the store, once it answers."""
    options = ("--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"], "--workers", "1")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *options],
        cwd=store.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and server.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5),
        ):
            return server
        time.sleep(0.05)
    _stop(server)
    raise SystemExit("MLflow's server does not start")


def _stop(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@contextlib.contextmanager
def _clock(store: ForkedStore, weight: str, after: float, rng: random.Random) -> Iterator[int]:
    """Let the wall clock of the run jump; the kernel keeps the monotonic clock steady."""
    jump = rng.choice((-1, 1)) * rng.choice((60, 3_600, 86_400, 31_536_000))

    def shift() -> None:
        wall, wall_ns, end = time.time, time.time_ns, time.monotonic() + after
        time.time = lambda: wall() + jump * (time.monotonic() > end)
        time.time_ns = lambda: wall_ns() + jump * 10**9 * (time.monotonic() > end)

    yield store.forget(weight, before=shift).wait()


SKIPPED = 77
Injection = Callable[[ForkedStore, str, float, random.Random], contextlib.AbstractContextManager[int]]
INJECT: dict[str, Injection] = {
    **{n: (lambda b, w, a, _r, n=n: _signal(b, w, a, n)) for n in SIGNALS},
    "nan": _nan,
    "locked": lambda b, w, a, _r: _locked(b, w, a, 2.0),
    "held": lambda b, w, a, _r: _locked(b, w, a, DEADLINE),
    "readonly": _readonly,
    "full": _full,
    "restart": _restart,
    "clock": _clock,
}
EXPECTED = {
    "SIGINT": (0, 130), "SIGTERM": (0, 130, -15), "SIGKILL": (0, -9), "nan": (1,), "locked": (0,), "held": (0, 1),
    "readonly": (1,), "full": (0, 1, SKIPPED), "restart": (0,), "clock": (0,),
}  # fmt: skip
"""Kind -> correct exit statuses; 0 if the fault came after the end."""


def campaign(
    folder: Path, count: int, seed: int, kinds: list[str], given: Path | None, steps: int
) -> dict[str, Any]:
    """Inject `count` faults into a store in `folder`, each kind at least once if possible; returns the figures."""
    rng = random.Random(seed)
    begin = time.monotonic()
    store = ForkedStore(folder, given, steps)
    say(f"store ready; a clean run takes {store.seconds:.1f} s")
    plan = rng.choices(kinds, [KINDS[k] for k in kinds], k=count) if count != len(kinds) else list(kinds)
    outcomes = []
    before = store.ask(state)
    for number, kind in enumerate(plan, start=1):
        outcome = one(store, number, kind, rng, before)
        outcomes.append(outcome)
        say(f"{number}/{count} {kind} after {outcome.after} s: status {outcome.status}, " + (
            "survived" if not outcome.wrong else "LOST " + "; ".join(outcome.wrong)
        ))  # fmt: skip
    lost = [o for o in outcomes if o.wrong]
    tried = Counter(o.kind for o in outcomes)
    return {
        "seed": seed,
        "tried": len(outcomes),
        "survived": len(outcomes) - len(lost),
        "lost": len(lost),
        "skipped": sum(o.status == SKIPPED for o in outcomes),
        "kinds": {k: {"tried": n, "lost": sum(o.kind == k for o in lost)} for k, n in sorted(tried.items())},
        "left_running_until_doctor": sum(o.running_before_fix > 0 for o in outcomes),
        "clean_run_seconds": round(store.seconds, 2),
        "seconds": round(time.monotonic() - begin, 1),
        "losses": [asdict(o) for o in lost],
    }


def prepare() -> None:
    """Import and read once what every child would import and read by itself, apart from the store.

    A child that is another user may not read all of it.
    """
    import torch

    from sa_mlops import datasets
    from sa_mlops.registry import provenance

    for name in warm.MODULES:
        importlib.import_module(name)
    datasets.load("digits", torch.device("cpu"))
    provenance.packages()


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Run the campaign; returns 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(
        description="Inject seeded faults into real runs and look at what is left."
    )
    parser.add_argument("--count", type=int, default=200, help="faults to inject")
    parser.add_argument("--seed", type=int, default=0, help="random seed of kinds and times")
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help=f"comma-separated kinds, of {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "faults.json", help="file for the figures"
    )
    parser.add_argument("--steps", type=int, default=40, help="training steps of a run")
    parser.add_argument("--store", type=Path, help="folder of a store whose judges and base are used")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if not set(kinds) <= set(KINDS):
        parser.error(f"--kinds: any of {', '.join(KINDS)}")
    out = arguments.out.resolve()
    # One thread, and all imports done: a child is a fork of this process.
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "CI": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # MLflow's jobs, which nothing here uses, are eight processes beside its server.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    os.environ |= {"GIT_PYTHON_REFRESH": "quiet"}
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(ROOT))
    prepare()

    here = Path.cwd()
    # No TemporaryDirectory: every child would delete it when it exits.
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        with brief.shortened():
            figures = campaign(
                folder, arguments.count, arguments.seed, kinds, arguments.store, arguments.steps
            )
    finally:
        os.chdir(here)
        shutil.rmtree(folder)
    figures["commit"] = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    out.write_text(json.dumps(figures, indent=1) + "\n")
    print("tried {tried}, survived {survived}, lost {lost}".format(**figures))
    return 1 if figures["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
