"""MLflow's server on PostgreSQL as `make server` brings it up."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import ROOT, Run

pytestmark = pytest.mark.e2e
LIMIT = 240


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # Not under pytest's own folder, which only its owner may enter: PostgreSQL may be another user's.
    path = Path("/tmp") / f"sa-server-{os.getpid()}"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the extra postgres is not installed")
    port, pg_port = free_port(), free_port()
    environment = os.environ | {
        "SA_SERVER_DIR": str(folder), "SA_SERVER_PORT": str(port), "SA_PG_PORT": str(pg_port),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    log = (folder / "output").open("w")
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "server.sh"), "--workers", "1"], env=environment, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, folder)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()
    assert not (folder / "pg" / "postmaster.pid").exists(), "PostgreSQL was left running"


def wait_for(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError((folder / "output").read_text()[-2000:])


@pytest.mark.timeout(600)
def test_a_store_on_postgresql_takes_runs_and_files_and_is_healthy(
    server: str, sa_mlops: Run, folder: Path
) -> None:
    code = (
        "from sa_mlops.registry import tracking; import mlflow\n"
        "client = tracking.connect()\n"
        "with tracking.open_run('try', nested=False, tags={}) as run_id:\n"
        "    client.log_text(run_id, 'words', 'words.txt')\n"
        "assert client.get_run(run_id).info.status == 'FINISHED'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240,
        env=os.environ | {"MLFLOW_TRACKING_URI": server, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [p.read_text() for p in folder.glob("artifacts/**/words.txt")] == ["words"]
    looked = sa_mlops("doctor", MLFLOW_TRACKING_URI=server)
    assert looked.returncode == 0, looked.stdout + looked.stderr


def test_the_password_is_its_owners_alone(server: str, folder: Path) -> None:
    assert stat.S_IMODE((folder / "pgpass").stat().st_mode) == 0o600
    (password,) = {line.rsplit(":", 1)[1] for line in (folder / "pgpass").read_text().split()}
    assert password not in (folder / "output").read_text()
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
    assert password not in shown


def test_only_loopback_is_bound(server: str) -> None:
    port = int(server.rsplit(":", 1)[1])
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert {a for a in addresses if a.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
