"""A store of its own for every test, and one small lineage on scikit-learn's digits that all of them may read.

The tests pass in one process or in several (`pytest -n`). What takes long is made once for all of them.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import hypothesis
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

from scripts import brief, serving, warm

# Before anything imports MLflow or DVC: neither may phone home from a test.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "CI": "1"}
# As `make ui` and `make server` have it: MLflow's jobs, which nothing here uses, are eight processes.
os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

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
    if is_first(config):
        folder = os.environ.pop(SHARED)
        if KEEP not in os.environ:
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


@pytest.fixture(scope="module")
def brief_judges() -> Iterator[None]:
    """Judges learn in fewer steps: enough for an accurate one, too few for one that may measure digits."""
    from sa_mlops.core import training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MIN_JUDGE_STEPS", 150)
        yield


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

    return Store(once("lineage", make))


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


LONG = ("server", "test_e2e", "tui", "test_faults")
"""Groups that begin first, because each of them takes minutes. Only the first and the last need the shared lineage."""
STORES = {"digits_store", "blank_store", "unpacked"}
"""Fixtures whose tests measure with few samples (`scripts/brief.py`)."""
SERVING = {"server", "refused"}
"""Fixtures of a server that a session makes once a process, and that takes many seconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a process of `pytest --dist loadgroup` gets whole: a file, the terminal UI, all that share a server."""
    serving = {item.path for item in items if SERVING & set(getattr(item, "fixturenames", ()))}

    def group(item: pytest.Item) -> str:
        if item.path in serving:
            return "server"
        return "tui" if item.path.parent.name == "tui" else item.path.stem

    def place(item: pytest.Item) -> int:
        order = (*LONG, "")
        return order.index(group(item) if group(item) in order else "")

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    # Those that look at what was migrated into the server come before those that add to it.
    items.sort(key=lambda item: (place(item), item.path.stem != "test_migrate"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test and its fixtures; those of a store measure with few samples."""
    measures = STORES & set(getattr(item, "fixturenames", ()))
    with brief.shortened() if measures else nullcontext():
        return (yield)


@pytest.fixture(scope="session")
def mnist_store() -> Store:
    """The store of the finished runs on real MNIST, made through `mlflow run`."""

    def make(folder: Path) -> None:
        for words in MNIST_RUNS:
            done = subprocess.run(
                ["mlflow", "run", str(ROOT), *words],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                env=child_environment(MLFLOW_TRACKING_URI=Store(folder).uri, OMP_NUM_THREADS="1"),
            )
            assert done.returncode == 0, done.stderr[-3000:]

    return Store(once("mnist", make))


@pytest.fixture(scope="session")
def fault_campaign(digits_store: Store) -> dict[str, Any]:
    """The figures of `scripts/faults.py`, one fault a kind, on the shared lineage."""

    def make(folder: Path) -> None:
        script = str(ROOT / "scripts" / "faults.py")
        words = (script, *FAULTS, "--store", str(digits_store.folder))
        done = warm.run(words, folder, child_environment(OMP_NUM_THREADS="1"), timeout=1_400)
        assert (folder / "faults.json").exists(), done.stderr[-3000:]

    return dict(json.loads((once("faults", make) / "faults.json").read_text()))


@pytest.fixture(scope="session")
def refused(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Server]:
    """MLflow's server on PostgreSQL as `make server` brings it up; one for all tests.

    Its store is empty: an attempt to copy the shared lineage into it fails in the middle, because PostgreSQL keeps no
    NUL in a text.
    """
    if reason := serving.missing():
        pytest.skip(reason)
    store = digits_store.copy(tmp_path_factory.mktemp("nul"))
    with closing(sqlite3.connect(store.folder / "mlflow.db")) as database, database:
        database.execute("UPDATE model_version_tags SET value = 'a' || char(0) WHERE key = 'sa.stage'")
    with serving.serve() as server:
        done = migrate(store, server)
        assert done.returncode == 1, done.stdout
        assert "NUL" in done.stderr
        yield server


@pytest.fixture(scope="session")
def server(digits_store: Store, refused: serving.Server) -> serving.Server:
    """The same server with the shared lineage."""
    done = migrate(digits_store, refused)
    assert done.returncode == 0, done.stderr
    return refused


@pytest.fixture
def python() -> Run:
    """A Python program in a process of its own that has its imports already, with this test's store and folder."""

    def run(*arguments: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        return warm.run(arguments, Path.cwd(), child_environment(**environment), timeout)

    return run


@pytest.fixture
def sa_mlops(python: Run) -> Run:
    """The command, in such a process."""
    return functools.partial(python, "-m", "sa_mlops")


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
