"""A clone in a folder of any name: the README's commands, `mlflow run`, MLflow's server and the terminal UI."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stores import ROOT, SET_BY_MLFLOW, Store, child_environment

from sa_mlops.registry import stores

pytestmark = [pytest.mark.e2e, pytest.mark.integration]
NAME = "my prójects 100% #1 o'b & co"


@pytest.fixture(scope="module")
def clone(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need of a checkout, with the shared lineage as its store, in a folder of an odd name."""
    root = tmp_path_factory.mktemp("folders") / NAME
    shutil.copytree(digits_store.folder, root)
    for name in ("MLproject", "python_env.yaml", "data.dvc"):
        shutil.copy(ROOT / name, root)
    for name in ("sa_mlops", "tui"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    stores.correct_places(root / "mlflow.db")
    return root


def environment(clone: Path, **more: str) -> dict[str, str]:
    """As a shell has it that was opened in the clone: nothing says where the store is."""
    known = child_environment(PYTHONPATH=str(clone), **more)
    return {k: v for k, v in known.items() if k not in (*SET_BY_MLFLOW, "MLFLOW_TRACKING_URI") or k in more}


def run(clone: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=clone,
        env=environment(clone, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


COMMANDS = """
import sys
from sa_mlops import cli
for words in sys.argv[1:]:
    assert cli.main(words.split()) == 0, words
"""
"""A program that runs commands one after the other."""


def test_commands_that_look_find_the_store_beside_them(clone: Path) -> None:
    commands = ("lineage", "doctor", "sample 2 --compare --out two.png", "report 2")
    out = run(clone, "-c", COMMANDS, *commands)
    assert "v2 forget 1" in out
    assert (clone / "two.png").is_file()


def test_artifacts_of_a_new_run_lie_in_the_clone(clone: Path) -> None:
    """Through `mlflow run`, as `make forget` does it."""
    few = ("-P", "dataset=digits", "-P", "from_version=2", "-P", "fisher_samples=20")
    run(
        clone,
        *("-m", "mlflow", "run", ".", "-e", "fim", "--env-manager", "local", *few),
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
    )
    out = run(clone, "-c", COMMANDS, "lineage --json", "doctor")
    document, end = json.JSONDecoder().raw_decode(out)
    newest = max((v for v in document["versions"] if v["name"] == "sa-fim"), key=lambda v: v["version"])

    (figures,) = clone.glob(f"mlruns/*/{newest['run_id']}/artifacts/figures")
    assert (figures / "fisher.png").is_file()
    assert "no problems" in out[end:]


def test_mlflows_server_shows_the_store(clone: Path) -> None:
    """`make ui`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    with served(clone, *words, "--backend-store-uri", "sqlite:///mlflow.db") as process:
        address = f"http://127.0.0.1:{port}/api/2.0/mlflow/registered-models/get?name=sa-cvae"
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    assert json.load(answer)["registered_model"]["name"] == "sa-cvae"
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.3)


@contextmanager
def served(clone: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=clone,
        env=environment(clone),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_the_terminal_ui_reads_versions_and_their_weights(clone: Path) -> None:
    from tui.services.store import Store as Shown

    shown = Shown(Store(clone).uri)
    *_, snapshot = shown.read(None)
    version = snapshot.versions["sa-cvae", 2]
    assert (shown.files(version) / "weights.safetensors").is_relative_to(clone)
    run_of_it = snapshot.runs[version.run_id]
    assert any(path.endswith("before_after.png") for path in shown.images(run_of_it))
