"""A temporary MLflow server with its own PostgreSQL, for campaigns and tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 240
"""Seconds until a server must answer on a busy machine."""


@dataclass(slots=True)
class Server:
    """The server that `scripts/server.sh` starts in `folder`, on free ports.

    Attributes
    ----------
    options : of `mlflow server`.
    """

    folder: Path
    options: tuple[str, ...] = ("--workers", "1")
    port: int = field(init=False)
    pg_port: int = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.port, self.pg_port = _free_port(), _free_port()

    @property
    def url(self) -> str:
        """The tracking store."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that a client needs."""
        return {"MLFLOW_TRACKING_URI": self.url, "PGPASSFILE": str(self.folder / "pgpass")}

    def database(self, name: str) -> str:
        """URL of a database of the cluster."""
        return f"postgresql+psycopg://sa@127.0.0.1:{self.pg_port}/{name}"

    def psql(self, sql: str) -> None:
        """Run a statement as the owner of the cluster."""
        import psycopg

        password = (self.folder / "pgpass").read_text().strip().rsplit(":", 1)[1]
        place = f"host=127.0.0.1 port={self.pg_port} user=sa dbname=postgres"
        with psycopg.connect(place, password=password, autocommit=True) as connection:
            connection.execute(sql.encode())

    @property
    def log(self) -> str:
        """The end of its output."""
        return (self.folder / "output").read_text(errors="replace")[-2000:]

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = os.environ | {
            "SA_SERVER_DIR": str(self.folder), "SA_SERVER_PORT": str(self.port), "SA_PG_PORT": str(self.pg_port),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        command = [str(ROOT / "scripts" / "server.sh"), *self.options]
        with (self.folder / "output").open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310 (http, by us)
                    return
            except OSError:
                time.sleep(0.3)
        raise RuntimeError(self.log)

    def stop(self) -> None:
        """Stop it as Ctrl-C or a shutdown does; the data stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(LIMIT)
            self.process = None
        if (self.folder / "pg" / "postmaster.pid").exists():
            raise RuntimeError("PostgreSQL was left running")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def missing() -> str:
    """The reason why no server can start here; empty if one can."""
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None:
        return "PostgreSQL is not installed"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "the extra postgres is not installed"
    return ""


@contextmanager
def serve() -> Iterator[Server]:
    """A server with an empty store in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="sa-server-", dir="/tmp"))
    # PostgreSQL may run as another user.
    folder.chmod(0o755)
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
