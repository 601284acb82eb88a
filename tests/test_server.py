"""MLflow's server on PostgreSQL as `make server` brings it up."""

from __future__ import annotations

import stat
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import Run
from urllib3.util import Retry

from sa_mlops.registry import names, publish, tracking, versions
from sa_mlops.registry.tracking import Recorder, open_run
from scripts.serving import Server

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(600)
def test_a_store_on_postgresql_takes_runs_and_files_and_is_healthy(
    server: Server, python: Run, sa_mlops: Run
) -> None:
    code = (
        "from sa_mlops.registry import tracking; import mlflow\n"
        "client = tracking.connect()\n"
        "with tracking.open_run('try', nested=False, tags={}) as run_id:\n"
        "    client.log_text(run_id, 'words', 'words.txt')\n"
        "assert client.get_run(run_id).info.status == 'FINISHED'\n"
    )
    done = python("-c", code, MLFLOW_TRACKING_URI=server.url)
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


class Lossy(BaseHTTPRequestHandler):
    """Passes requests on to a server; the first answer to `lost` does not arrive, or only its first half."""

    server_url = lost = ""
    half = False

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.forward
        raise AttributeError(name)

    def forward(self) -> None:
        """Any method."""
        length = int(self.headers.get("Content-Length", 0))
        asked = urllib.request.Request(
            self.server_url + self.path,
            self.rfile.read(length) if length else None,
            {k: v for k, v in self.headers.items() if k in ("Content-Type", "Accept")},
            method=self.command,
        )
        try:
            answer = urllib.request.urlopen(asked, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
        kind = type(self)
        cut = bool(kind.lost) and self.path.endswith(kind.lost)
        self.close_connection = cut
        if cut:
            kind.lost = ""
            if not kind.half:
                return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def lossy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Lossy]]:
    class Handler(Lossy):
        server_url = server.url

    # MLflow would wait a second and more before it asks again.
    monkeypatch.setattr(Retry, "sleep", lambda *_: None)
    monkeypatch.setattr(tracking.time, "sleep", lambda _seconds: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{proxy.server_port}")
        yield Handler
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize("half", [False, True], ids=["no answer", "half an answer"])
@pytest.mark.parametrize("lost", ["runs/create", "registered-models/create", "model-versions/create"])
def test_a_lost_answer_leaves_one_finished_run_and_one_version(
    lossy: type[Lossy], server: Server, lost: str, half: bool
) -> None:
    client = MlflowClient(server.url)
    experiments = [e.experiment_id for e in client.search_experiments()]
    before = {r.info.run_id for r in client.search_runs(experiments)}
    lossy.lost, lossy.half = lost, half
    with open_run("lost", nested=False, tags={}) as run_id:
        version = publish.publish_files(
            MlflowClient(), Recorder(MlflowClient(), run_id), names.JUDGES, lambda folder: None,
            tags={"lost": lost}, description="", metrics={}, params={},
        )  # fmt: skip
    assert lossy.lost == ""
    made = [r for r in client.search_runs(experiments) if r.info.run_id not in before]
    assert [(r.info.run_id, r.info.status) for r in made] == [(run_id, "FINISHED")]
    found = [v.number for v in versions.search(client, f"run_id = '{run_id}'")]
    assert found == [version.number]
    client.delete_model_version(names.JUDGES, str(version.number))
