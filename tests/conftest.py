"""A store of its own for every test, and one small lineage on scikit-learn's digits that all of them may read.

The tests pass in one process or in several (`pytest -n`); what takes long is made once for all of them.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
from filelock import FileLock
from stores import (
    BASE,
    FAULTS,
    FORGET,
    JUDGE,
    MNIST_RUNS,
    ORACLE,
    ROOT,
    Run,
    Start,
    Store,
    child_environment,
    isolate,
    migrate,
)

from scripts import serving

# Before anything imports MLflow or DVC: neither may phone home from a test.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "CI": "1"}

# A loaded machine is no failure: deadlines per example would say nothing about the code.
hypothesis.settings.register_profile("machines differ", deadline=None)
hypothesis.settings.register_profile("campaign", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile("machines differ")

SHARED = "SA_TESTS_SHARED"
"""Environment variable with the folder that the processes of one session share."""
KEEP = "SA_TESTS_KEEP"
"""Environment variable with a folder in which the shared stores outlive the session: for work on a test that trains
nothing. Later changes to training, judging or publishing are not seen then."""


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    # A stage prepares its whole process, but hypothesis draws denormals, and other processes multiply with MKL.
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
        sys.modules["torch"].set_float32_matmul_precision("highest")


def pytest_configure(config: pytest.Config) -> None:
    """A folder that the processes of this session share."""
    if is_first(config):
        kept = os.environ.get(KEEP)
        if kept:
            Path(kept).mkdir(parents=True, exist_ok=True)
        os.environ[SHARED] = kept or tempfile.mkdtemp(prefix="sa-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing outlives the session."""
    if not is_first(config):
        return
    folder = Path(os.environ.pop(SHARED))
    with suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int((folder / "beside" / "pid").read_text()), signal.SIGKILL)
    if KEEP in os.environ:
        shutil.rmtree(folder / "beside", ignore_errors=True)
        (folder / "beside.finished").unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def is_first(config: pytest.Config) -> bool:
    """Whether this is the process that was started by hand, no worker of `pytest -n`."""
    return not hasattr(config, "workerinput")


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name, filled by the first process that asks for it; others wait."""
    folder = Path(os.environ[SHARED]) / name
    finished = Path(f"{folder}.finished")
    with FileLock(f"{folder}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="module")
def toys() -> Iterator[None]:
    """The folders of `tests/toys` as part of the packages of the same name: a data set, a net, each one file."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in sorted((ROOT / "tests" / "toys").iterdir()):
            package = importlib.import_module(f"sa_mlops.{folder.name}")
            patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        yield
    for folder in (ROOT / "tests" / "toys").iterdir():
        for file in folder.glob("*.py"):
            sys.modules.pop(f"sa_mlops.{folder.name}.{file.stem}", None)


@pytest.fixture(scope="session")
def digits_store() -> Store:
    """Judges, a base (version 1), the same without the digit 1 (2) and an oracle (3), made once a session.

    Only for reading; `own_store` is for tests that add to it.
    """
    from sa_mlops.cli import main

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            isolate(patch, folder)
            for command in (JUDGE, BASE, FORGET, ORACLE):
                assert main(command) == 0, f"sa-mlops {' '.join(command)} failed"

    return Store(once("digits", make))


@pytest.fixture
def shared_store(digits_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The shared lineage as the store of this test, for reading."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", digits_store.uri)
    return digits_store


@pytest.fixture
def own_store(digits_store: Store, tmp_path: Path) -> Store:
    """A copy of the shared lineage as the store of this test."""
    return digits_store.copy(tmp_path)


@pytest.fixture
def whole_store(digits_store: Store, tmp_path: Path) -> Store:
    """A copy of the shared lineage with files of its own, for tests that alter those."""
    return digits_store.whole_copy(tmp_path)


@pytest.fixture(scope="session")
def blank_store() -> Store:
    """A store with tables and nothing in them; making those takes seconds."""
    from sa_mlops.registry.tracking import connect

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            isolate(patch, folder)
            connect()

    return Store(once("blank", make))


@pytest.fixture
def empty_store(blank_store: Store, tmp_path: Path) -> Store:
    """A store of this test's own, with tables and nothing in them."""
    return blank_store.copy(tmp_path)


BESIDE = {
    "mnist_store": " && ".join(f"mlflow run {shlex.quote(str(ROOT))} {words}" for words in MNIST_RUNS),
    "fault_campaign": shlex.join((sys.executable, str(ROOT / "scripts" / "faults.py"), *FAULTS)),
}
"""Fixture -> what it waits for: minutes each, so they pass one after the other beside all other tests."""


SERVERS = {"server", "stocked"}
"""Fixtures that a session makes once a process, and that take many seconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a process of `pytest --dist loadgroup` gets whole: a file, the terminal UI, all that share a server.

    The terminal UI comes first, because it is the largest group; what waits for `BESIDE` comes last.
    """
    serving = {item.path for item in items if SERVERS & set(getattr(item, "fixturenames", ()))}

    def group(item: pytest.Item) -> str:
        return (
            "tui" if item.path.parent.name == "tui" else "server" if item.path in serving else item.path.stem
        )

    def place(item: pytest.Item) -> tuple[bool, ...]:
        asked = getattr(item, "fixturenames", ())
        return "fault_campaign" in asked, "mnist_store" in asked, group(item) != "tui"

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=place)


def is_over(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True)
class Beside:
    """Commands that run beside the tests, each in a folder of its own name."""

    folder: Path

    def wait(self, name: str) -> tuple[int, Path]:
        """Exit status and folder of one of them; what it said is in `log.txt` there."""
        status = self.folder / name / "status"
        pid = int((self.folder / "pid").read_text())
        ended = False
        while not (status.exists() and status.read_text()):
            assert not ended, f"{name} has ended without a status"
            # Asked before the next look: the last thing that the process does is to write it.
            ended = is_over(pid)
            time.sleep(0.2)
        return int(status.read_text()), self.folder / name


@pytest.fixture(scope="session", autouse=True)
def beside(request: pytest.FixtureRequest) -> Beside | None:
    """Of the commands of `BESIDE` those that a test of this session asks for; they end with the session."""
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    wanted = [name for name in BESIDE if name in asked]
    return Beside(once("beside", lambda folder: begin(folder, wanted))) if wanted else None


def begin(folder: Path, names: list[str]) -> None:
    """Start these commands, one after the other."""
    lines = []
    for name in names:
        (folder / name).mkdir()
        environment = f"cd {name}; export MLFLOW_TRACKING_URI={shlex.quote(Store(folder / name).uri)}"
        lines.append(f"({environment}; {BESIDE[name]}) > {name}/log.txt 2>&1; echo $? > {name}/status; ")
    process = subprocess.Popen(
        ["sh", "-c", "".join(lines)],
        cwd=folder,
        env=child_environment(OMP_NUM_THREADS="1"),
        start_new_session=True,
    )
    (folder / "pid").write_text(str(process.pid))


@pytest.fixture(scope="session")
def mnist_store(beside: Beside) -> Store:
    """The store of the finished runs on real MNIST, made through `mlflow run`."""
    status, folder = beside.wait("mnist_store")
    assert status == 0, (folder / "log.txt").read_text()[-3000:]
    return Store(folder)


@pytest.fixture(scope="session")
def fault_campaign(beside: Beside) -> dict[str, Any]:
    """The figures of `scripts/faults.py`, one fault a kind."""
    _, folder = beside.wait("fault_campaign")
    assert (folder / "faults.json").exists(), (folder / "log.txt").read_text()[-3000:]
    return dict(json.loads((folder / "faults.json").read_text()))


@pytest.fixture(scope="session")
def server() -> Iterator[serving.Server]:
    """MLflow's server on PostgreSQL as `make server` brings it up; one for all tests."""
    if reason := serving.missing():
        pytest.skip(reason)
    with serving.serve() as server:
        yield server


@pytest.fixture(scope="session")
def stocked(digits_store: Store) -> Iterator[serving.Server]:
    """Another server, with the shared lineage."""
    if reason := serving.missing():
        pytest.skip(reason)
    with serving.serve() as server:
        done = migrate(digits_store, server)
        assert done.returncode == 0, done.stderr
        yield server


@pytest.fixture
def sa_mlops() -> Run:
    """The command in a process of its own, with this test's store and folder."""

    def run(*arguments: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sa_mlops", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=child_environment(**environment),
        )

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python with arguments and pipes; it and all that it starts are killed when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(**environment),
            start_new_session=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
