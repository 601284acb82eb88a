"""MLflow's server on PostgreSQL as `make server` brings it up."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from stores import ROOT, Run

from scripts.serving import Server

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(600)
def test_a_store_on_postgresql_takes_runs_and_files_and_is_healthy(server: Server, sa_mlops: Run) -> None:
    code = (
        "from sa_mlops.registry import tracking; import mlflow\n"
        "client = tracking.connect()\n"
        "with tracking.open_run('try', nested=False, tags={}) as run_id:\n"
        "    client.log_text(run_id, 'words', 'words.txt')\n"
        "assert client.get_run(run_id).info.status == 'FINISHED'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240,
        env=os.environ | {"MLFLOW_TRACKING_URI": server.url, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [p.read_text() for p in server.folder.glob("artifacts/**/words.txt")] == ["words"]
    looked = sa_mlops("doctor", MLFLOW_TRACKING_URI=server.url)
    assert looked.returncode == 0, looked.stdout + looked.stderr


def test_the_password_is_its_owners_alone(server: Server) -> None:
    assert stat.S_IMODE((server.folder / "pgpass").stat().st_mode) == 0o600
    (password,) = {line.rsplit(":", 1)[1] for line in (server.folder / "pgpass").read_text().split()}
    assert password not in (server.folder / "output").read_text()
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
    assert password not in shown


def test_only_loopback_is_bound(server: Server) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert {a for a in addresses if a.endswith(f":{server.port:04X}")} == {f"0100007F:{server.port:04X}"}
