"""A store of its own for every test, and one small lineage on scikit-learn's digits that all of them may read."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from stores import (
    BASE,
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


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    # A stage prepares its whole process, but hypothesis draws denormals, and other processes multiply with MKL.
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
        sys.modules["torch"].set_float32_matmul_precision("highest")


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Judges, a base (version 1), the same without the digit 1 (2) and an oracle (3), made once a session.

    Only for reading; `own_store` is for tests that add to it.
    """
    from sa_mlops.cli import main

    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        for command in (JUDGE, BASE, FORGET, ORACLE):
            assert main(command) == 0, f"sa-mlops {' '.join(command)} failed"
    return Store(folder)


@pytest.fixture
def shared_store(digits_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The shared lineage as the store of this test, for reading."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", digits_store.uri)
    return digits_store


@pytest.fixture
def own_store(digits_store: Store, tmp_path: Path) -> Store:
    """A copy of the shared lineage as the store of this test."""
    return digits_store.copy(tmp_path)


@pytest.fixture(scope="session")
def blank_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with tables and nothing in them; making those takes seconds."""
    from sa_mlops.registry.tracking import connect

    folder = tmp_path_factory.mktemp("blank")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        connect()
    return Store(folder)


@pytest.fixture
def empty_store(blank_store: Store, tmp_path: Path) -> Store:
    """A store of this test's own, with tables and nothing in them."""
    return blank_store.copy(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def mnist_runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path] | None]:
    """The project on real MNIST through `mlflow run`: minutes, so they pass beside all other tests.

    Started only if a test of this session asks for `mnist_store`.
    """
    if not any("mnist_store" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("mnist")
    commands = " && ".join(f"mlflow run {shlex.quote(str(ROOT))} {words}" for words in MNIST_RUNS)
    environment = child_environment(MLFLOW_TRACKING_URI=Store(folder).uri, OMP_NUM_THREADS="1")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", commands],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    yield process, folder
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def mnist_store(mnist_runs: tuple[subprocess.Popen[bytes], Path]) -> Store:
    """The store of the finished runs on MNIST."""
    process, folder = mnist_runs
    status = process.wait()
    assert status == 0, (folder / "log.txt").read_text()[-3000:]
    return Store(folder)


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
