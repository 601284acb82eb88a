"""`submit` on a real SLURM: munged, slurmctld and slurmd of this test's own, on this machine alone."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from stores import Run, Store
from waiting import wait_for

from sa_mlops.registry import names
from sa_mlops.tuning.storage import open_storage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START = 60.0
FIM = ("fim", "--dataset", "digits", "--from-version", "1")
LONG = "3000000"
"""Samples that keep a stage busy for minutes."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found


def version(slurmctld: str) -> tuple[int, ...]:
    said = subprocess.run([slurmctld, "-V"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


def configuration(folder: Path, plugin: str) -> None:
    """A node with two CPUs and two partitions: jobs of `high` push those of `low` back into the queue."""
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    control, node = free_ports(2)
    (folder / "slurm.conf").write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/munge
CredType=cred/munge
# What was pushed back waits until its old credential has expired.
AuthInfo=socket={folder}/run/munge,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
""")
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """The configuration of a SLURM that is up."""
    programs = {name: shutil.which(name, path=PATH) for name in (*DAEMONS, "sbatch", "srun")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (slurm-wlm and munge)")
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("the extra slurm is not installed")
    # Not under pytest's own folder: the name of a socket must be short.
    folder = Path("/tmp") / f"sa-slurm-{os.getpid()}"
    for part in ("", "run", "state", "spool"):
        (folder / part).mkdir(mode=0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    munged, slurmctld, slurmd = (str(programs[name]) for name in DAEMONS)
    # Older ones know no way to do without cgroups, but this plugin mounts none for what is configured here.
    configuration(folder, "disabled" if version(slurmctld) >= (23, 11) else "cgroup/v1")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (folder / f"{Path(words[0]).name}.log").open("wb") as log:
            started.append(
                subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
            )

    def idle() -> bool:
        for process in started:
            assert process.poll() is None, logs()
        said = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return set(said.stdout.split()) == {"idle"}

    def logs() -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))

    try:
        files = {"key-file": "munge.key", "socket": "run/munge", "pid-file": "run/munged.pid",
                 "seed-file": "munge.seed", "log-file": "munged.own.log"}  # fmt: skip
        start(munged, "--foreground", *(f"--{option}={folder / name}" for option, name in files.items()))
        wait_for(lambda: (folder / "run" / "munge").exists(), "munged does not answer", START)
        start(slurmctld, "-D", "-c")
        start(slurmd, "-D", "-c")
        wait_for(idle, f"the node is not idle\n{logs()}", START)
        yield folder / "slurm.conf"
    finally:
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, check=False)
        with suppress(subprocess.TimeoutExpired):
            # The node ends what still runs.
            subprocess.run(
                ["sh", "-c", "while [ -n \"$(squeue --noheader)\" ]; do sleep 0.2; done"],
                env=environment, check=False, timeout=START,
            )  # fmt: skip
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(cluster: Path, own_store: Store, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """This test's store, with SLURM to be found."""
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    return MlflowClient(own_store.uri)


def numbers(client: MlflowClient, name: str) -> set[int]:
    return {int(v.version) for v in client.search_model_versions(f"name='{name}'")}


def runs(client: MlflowClient, text: str) -> list[MlflowRun]:
    """Newest last."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, text, order_by=["attributes.start_time"]))


def statuses(client: MlflowClient, samples: str) -> list[str]:
    """Of the runs of `fim` with so many samples."""
    text = f"params.fisher_samples = '{samples}' AND tags.`sa.entry` = 'fim'"
    return [run.info.status for run in runs(client, text)]


def tasks(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    (job,) = json.loads(done.stdout)["jobs"]
    found: list[dict[str, Any]] = job["tasks"]
    return found


def test_a_sweep_is_an_array_and_registers_a_version_a_value(client: MlflowClient, sa_mlops: Run) -> None:
    before = numbers(client, names.FISHERS)
    done = sa_mlops("submit", *FIM, "--sweep", "fisher_samples=101,102", "--cpus", "1", "--follow", "--json")
    assert done.returncode == 0, done.stderr
    first, second = tasks(done)
    assert (first["task"], first["state"]) == ("fisher_samples=101", "done")
    assert (second["task"], second["state"]) == ("fisher_samples=102", "done")
    assert first["id"].removesuffix("_0") == second["id"].removesuffix("_1")
    assert [statuses(client, samples) for samples in ("101", "102")] == [["FINISHED"]] * 2
    assert len(numbers(client, names.FISHERS) - before) == 2
    assert "a sqlite store" in done.stderr


def test_a_cancelled_stage_ends_its_run_and_registers_nothing(client: MlflowClient, sa_mlops: Run) -> None:
    before = numbers(client, names.FISHERS)
    assert sa_mlops("submit", *FIM, "--fisher-samples", LONG).returncode == 0
    wait_for(lambda: statuses(client, LONG) == ["RUNNING"], "no run was opened")
    (task,) = tasks(sa_mlops("jobs", "latest", "--json"))
    assert task["state"] == "running"
    assert sa_mlops("jobs", task["id"], "--cancel").returncode == 0
    done = sa_mlops("jobs", "latest", "--follow", "--json")
    assert (done.returncode, tasks(done)[0]["state"]) == (130, "cancelled")
    assert statuses(client, LONG) == ["KILLED"]
    assert numbers(client, names.FISHERS) == before


def test_a_preempted_stage_is_run_again_and_registers_one_version(
    client: MlflowClient, sa_mlops: Run
) -> None:
    before, samples = numbers(client, names.FISHERS), "60000"
    done = sa_mlops("submit", *FIM, "--fisher-samples", samples, "--partition", "low")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: statuses(client, samples) == ["RUNNING"], "no run was opened")
    words = ("--partition=high", "--cpus-per-task=2", "--mem=1G", "--output=/dev/null", "--wrap=true")
    subprocess.run(["sbatch", *words], check=True, capture_output=True)
    done = sa_mlops("jobs", "latest", "--follow", "--json")
    assert done.returncode == 0, done.stderr
    assert [(t["state"], t["attempts"]) for t in tasks(done)] == [("done", 2)]
    assert statuses(client, samples) == ["KILLED", "FINISHED"]
    assert len(numbers(client, names.FISHERS) - before) == 1


def test_workers_of_a_study_are_an_array_and_finish_the_trials_wanted(
    client: MlflowClient, sa_mlops: Run, tmp_path: Path
) -> None:
    place = tmp_path / "study.journal"
    options = (
        *("--dataset", "digits", "--from-version", "1", "--fisher-samples", "2000", "--steps", "5"),
        *("--classes", "1", "--samples", "10", "--final-seeds", "0", "--space", "ewc_lambda"),
        *("--trials", "3", "--study", "small", "--storage", str(place)),
    )
    done = sa_mlops("submit", "tune", *options, "--workers", "2", "--cpus", "1", "--follow", "--json")
    found = tasks(done)
    assert [t["task"] for t in found] == ["upstream", "worker=1", "worker=2"]
    assert found[0]["state"] == "done", done.stderr
    study = optuna.load_study(study_name="small", storage=open_storage(str(place)))
    assert [t.state for t in study.trials if t.state == TrialState.COMPLETE] == [TrialState.COMPLETE] * 3
    # One of them concludes, and answers no (1) where no trial keeps the constraint; the other says who did.
    assert done.stderr.count(" concludes\n") == 1
    assert sorted(t["status"] for t in found[1:]) in ([0, 0], [0, 1]), done.stderr
    assert [run.info.status for run in runs(client, "tags.`sa.entry` = 'tune'")] == ["FINISHED"] * 2


def test_a_refusal_of_slurm_is_one_line(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, sa_mlops: Run
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = sa_mlops("submit", *FIM, "--partition", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sa-mlops: sbatch: ")
    assert "partition" in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads(sa_mlops("jobs", "--json").stdout) == {"jobs": []}
