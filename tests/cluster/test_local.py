"""`submit --target local` and `jobs`: the same code as on SLURM, with processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from stores import ROOT, Run, Start, Store, child_environment
from waiting import wait_for

from sa_mlops import cli
from sa_mlops.cluster import records, schedulers

FIM = ("--dataset", "digits", "--from-version", "1", "--fisher-samples")
LONG = "3000000"
"""Samples that keep a stage busy for minutes."""


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """Whatever a test has left running ends with it."""
    yield
    for job in records.every():
        schedulers.cancel(job)
    wait_for(lambda: not any(s.live for j in records.every() for s in records.look(j, {})), "tasks go on")


def submit(*words: str) -> tuple[str, ...]:
    return ("submit", *words, "--target", "local", "--cpus", "1")


def tasks(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    (job,) = json.loads(done.stdout)["jobs"]
    found: list[dict[str, Any]] = job["tasks"]
    return found


def runs(store: Store) -> list[str]:
    """Status of the runs that the jobs of this test have opened."""
    client = MlflowClient(store.uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return [r.info.status for r in client.search_runs(experiments, "params.fisher_samples = '3000000'")]


def fishers(store: Store) -> int:
    return len(MlflowClient(store.uri).search_model_versions("name='sa-fim'"))


@pytest.mark.integration
def test_a_sweep_ends_with_a_version_a_value(sa_mlops: Run, own_store: Store) -> None:
    before = fishers(own_store)
    done = sa_mlops(
        *submit("fim", *FIM, "100", "--sweep", "fisher_samples=101,102", "--parallel", "2"),
        *("--follow", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert [(t["task"], t["state"], t["attempts"]) for t in tasks(done)] == [
        ("fisher_samples=101", "done", 1), ("fisher_samples=102", "done", 1)
    ]  # fmt: skip
    assert "[fisher_samples=101] " in done.stderr
    assert fishers(own_store) == before + 2


@pytest.mark.integration
def test_following_a_task_that_fails_ends_with_its_status(sa_mlops: Run, own_store: Store) -> None:
    done = sa_mlops(*submit("fim", "--dataset", "digits", "--from-version", "77"))
    assert done.returncode == 0, done.stderr
    done = sa_mlops("jobs", "latest", "--follow", "--json")
    assert done.returncode == 2
    assert [(t["state"], t["status"]) for t in tasks(done)] == [("failed", 2)]
    assert "--from-version: '77' is not allowed" in done.stderr


@pytest.mark.integration
def test_an_interrupted_task_leaves_no_version_and_no_open_run(start: Start, own_store: Store) -> None:
    before = fishers(own_store)
    process = start("-m", "sa_mlops", *submit("fim", *FIM, LONG), "--follow")
    wait_for(lambda: runs(own_store) == ["RUNNING"], "no run was opened", 120)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "cancelled" in out
    assert runs(own_store) == ["KILLED"]
    assert fishers(own_store) == before


@pytest.mark.integration
def test_a_job_continues_after_its_follower_leaves_until_it_is_cancelled(
    sa_mlops: Run, start: Start, own_store: Store
) -> None:
    before = fishers(own_store)
    assert sa_mlops(*submit("fim", *FIM, LONG)).returncode == 0
    follower = start("-m", "sa_mlops", "jobs", "latest", "--follow")
    wait_for(lambda: runs(own_store) == ["RUNNING"], "no run was opened", 120)
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=60)
    assert (follower.returncode, "continues" in err) == (130, True)
    assert runs(own_store) == ["RUNNING"]
    assert sa_mlops("jobs", "latest", "--cancel").returncode == 0
    done = sa_mlops("jobs", "latest", "--follow")
    assert (done.returncode, "cancelled" in done.stdout) == (130, True)
    assert runs(own_store) == ["KILLED"]
    assert fishers(own_store) == before


@pytest.mark.integration
def test_submitits_signal_ends_the_attempt_and_queues_the_task_again(sa_mlops: Run, own_store: Store) -> None:
    assert sa_mlops(*submit("fim", *FIM, LONG)).returncode == 0
    wait_for(lambda: runs(own_store) == ["RUNNING"], "no run was opened", 120)
    (job,) = records.every()
    note = records.noted(records.home(job.key), 0)
    assert note is not None
    os.kill(int(note.process["sa.pid"]), signal.SIGUSR2)
    wait_for(lambda: sorted(runs(own_store)) == ["KILLED", "RUNNING"], "it was not run again", 120)
    assert records.look(job, {})[0].attempts == 2
    assert sa_mlops("jobs", "latest", "--cancel").returncode == 0
    assert sa_mlops("jobs", "latest", "--follow").returncode == 130
    assert runs(own_store) == ["KILLED", "KILLED"]


def error_of(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> str:
    assert cli.main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.removeprefix("sa-mlops: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("submit forget --classes 12", "--classes: '12'"),
        ("submit forget --minutes 0", "--minutes: '0'"),
        ("submit forget --target pbs", "--target: 'pbs'"),
        ("submit forget --partition a;b", "--partition: 'a;b'"),
        ("submit forget --sweep classes=1,x", "--classes: 'x'"),
        ("submit probe --probe-target 12", "--target: '12'"),
        ("submit frobnicate", "No such command"),
        ("jobs --follow", "need the JOB"),
        ("jobs nothing", "JOB: 'nothing'"),
        ("jobs x --follow --cancel", "not both"),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(
    capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert told in error_of(capsys, *words.split(), status=2)
    assert not records.FOLDER.exists()


def test_without_slurm_the_way_out_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "--target local" in error_of(capsys, "submit", "forget", status=1)
    assert records.every() == []


def test_without_submitit_the_way_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "submitit.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-m", "sa_mlops", "submit", "forget", "--target", "local"],
        capture_output=True, text=True, check=False, timeout=60,
        env=child_environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "sa-mlops: submitit is not installed: pip install 'sa-mlops[slurm]'\n"
    )  # fmt: skip


def test_no_jobs_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": []}


@pytest.mark.parametrize("words", [["submit", "forget", "--help"], ["jobs"]])
def test_submitit_is_imported_only_to_submit(words: list[str]) -> None:
    heavy = {"submitit", "torch", "mlflow", "numpy", "optuna"}
    code = (
        "import sys; from sa_mlops.cli import main\n"
        f"try: main({words!r})\n"
        f"finally: print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
        env=child_environment(),
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[]"
