"""Where tests keep their runs and versions, and how they start the command in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts import warm
from scripts.serving import Server

PATIENCE = 280
"""Seconds that something may take on a slow machine."""

ROOT = Path(__file__).resolve().parent.parent
BRIEF = str(ROOT / "scripts" / "brief.py")
"""`sa-mlops` that measures with few samples, as the shared lineage was measured."""
SET_BY_MLFLOW = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI")

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True, slots=True)
class Store:
    """A tracking store: its URI, and the folder that it and its artifacts lie in."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def copy(self, folder: Path) -> Store:
        """The same runs and versions in a database of its own. New files of both lie in this store's folder."""
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        return Store(folder)

    def whole_copy(self, folder: Path) -> Store:
        """The same with files of its own, less the code of models."""
        from sa_mlops.registry import stores

        shutil.copytree(self.folder / "mlruns", folder / "mlruns", ignore=shutil.ignore_patterns("code"))
        copied = self.copy(folder)
        stores.correct_places(folder / "mlflow.db")
        forget_places()
        return copied


JUDGE = ("judge", "--dataset", "digits")
BASE = ("base", "--dataset", "digits", "--steps", "300")
FORGET = (
    *("forget", "--dataset", "digits", "--digit", "1", "--from-version", "1"),
    *("--steps", "120", "--fisher-samples", "2000"),
)
ORACLE = ("oracle", "--dataset", "digits", "--digit", "1", "--steps", "300")
"""The commands that make the shared lineage: generators 1, 2 and 3."""


EXPERIMENT = "whole project"
LOCALLY = ("--env-manager", "local", "--experiment-name", EXPERIMENT)
MNIST_RUNS = (
    ("-e", "base", *LOCALLY, "-P", "steps=800"),
    (
        *("-e", "forget", *LOCALLY, "-P", "digit=1", "-P", "from_version=base", "-P", "steps=150"),
        *("-P", "fisher_samples=5000"),
    ),
)
"""What the end-to-end test runs, in this order: generators 1 and 2."""

FAULT_KINDS = (
    "SIGINT",
    "SIGTERM",
    "SIGKILL",
    "nan",
    "locked",
    "held",
    "readonly",
    "full",
    "restart",
    "clock",
)
FAULTS = ("--count", str(len(FAULT_KINDS)), "--seed", "0", "--steps", "10", "--out", "faults.json")
"""How the campaign of faults is run: as many as there are kinds means one of each."""


def forget_places() -> None:
    """Let MLflow look files up again: it remembers their places by ids, which copies of a store share."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let MLflow find nothing but an empty store in `folder`, where artifacts go as well."""
    patch.chdir(folder)
    if "mlflow" in sys.modules:
        # What a test has set for its whole process would win over the environment.
        sys.modules["mlflow"].set_tracking_uri(None)
        forget_places()
    patch.setenv("MLFLOW_TRACKING_URI", Store(folder).uri)
    for name in SET_BY_MLFLOW:
        # Set first, so that undoing also removes what MLflow sets meanwhile.
        patch.setenv(name, "")
        patch.delenv(name)


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a process that runs this checkout and finds the commands of the tests' own interpreter.

    Without the terminal's size: GNU readline sets it to 80 x 24 in the processes that pytest-xdist starts.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    inherited = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return inherited | {"PYTHONPATH": str(ROOT), "PATH": path} | changes


WITH_TOYS = """
import dataclasses, importlib, json, pathlib, sys
for folder in pathlib.Path(sys.argv[1]).iterdir():
    importlib.import_module(f"sa_mlops.{folder.name}").__path__.append(str(folder))
from sa_mlops import settings
from sa_mlops.cli import main
from sa_mlops.core import training
from scripts import brief
settings.BASE_OPTIMISATION["fast"] = dataclasses.replace(settings.BASE_OPTIMISATION["fast"], steps=400)
with brief.shortened():
    training.MIN_JUDGE_STEPS = 150
    sys.exit(max(main(command.split(",")) for command in sys.argv[2:]))
"""
"""A program that takes the folder of the toys and commands, whose words are separated by commas.

Its judges and its default recipe of a base have fewer steps, and it measures with few samples.
"""


def with_toys(*commands: str) -> str:
    """The output of commands that know the toys; the words of a command are separated by commas."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_TOYS, str(ROOT / "tests" / "toys"), *commands],
        capture_output=True, text=True, check=False, timeout=840, env=child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """What `what` finds at last, while the process goes on."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def migrate(store: Store, server: Server) -> subprocess.CompletedProcess[str]:
    """Copy a store into the empty one of a server, as the documentation says."""
    words = (
        "--from",
        store.uri,
        "--to",
        server.database("mlflow"),
        "--artifacts",
        str(server.folder / "artifacts"),
    )
    script = str(ROOT / "scripts" / "migrate.py")
    return warm.run((script, *words), server.folder, child_environment(**server.environment), timeout=240)
