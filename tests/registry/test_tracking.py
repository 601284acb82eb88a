"""Runs: their status is true whatever ends them, and many processes may meet one store."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import PATIENCE, Run, Store, child_environment
from waiting import wait_for

from sa_mlops.errors import Stopped
from sa_mlops.registry import last_words, tracking
from sa_mlops.registry.tracking import KIND, TRAINING, VIEW, Recorder, StoreError, open_run
from scripts import warm

pytestmark = pytest.mark.integration

WAITING = """
import sys, threading
from sa_mlops.registry.stopping import stoppable
from sa_mlops.registry.tracking import connect, open_run
connect()
with stoppable(), open_run("outer", nested=False, tags={}):
    with open_run("inner", nested=True, tags={}):
        print("ready", flush=True)
        threading.Event().wait()
"""
"""A stage with a nested stage that never ends by itself."""

ONE_RUN = """
import sys
from sa_mlops.registry.tracking import Recorder, connect, open_run
client = connect()
with open_run(f"run {sys.argv[1]}", nested=False, tags={}) as run_id:
    recorder = Recorder(client, run_id)
    for step in range(5):
        recorder.series({"loss": [(step, step, float(sys.argv[1]))]})
"""


@pytest.fixture
def client(empty_store: Store) -> MlflowClient:
    return MlflowClient()


def runs(client: MlflowClient) -> dict[str, mlflow.entities.Run]:
    """All runs by name."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    return {r.info.run_name: r for r in client.search_runs(experiments)}


def begun(folder: Path, word: str, *arguments: str) -> warm.Program:
    """A program that has written this word into `out` or `err` in the folder."""
    out, err = folder / "out", folder / "err"
    process = warm.start(arguments, folder, child_environment(), out, err)
    wait_for(
        lambda: any(p.exists() and f"\n{word}" in f"\n{p.read_text()}" for p in (out, err)),
        f"no {word!r}",
        PATIENCE,
    )
    return process


class TestStatus:
    def test_a_run_that_ends_well_is_finished(self, client: MlflowClient) -> None:
        with open_run("fine", nested=False, tags={"a": "b"}):
            pass
        run = runs(client)["fine"]
        assert (run.info.status, run.data.tags["a"]) == ("FINISHED", "b")

    def test_an_exception_fails_the_run_and_is_noted_in_one_line(self, client: MlflowClient) -> None:
        with pytest.raises(ZeroDivisionError), open_run("broken", nested=False, tags={}):
            raise ZeroDivisionError("first\nsecond")
        run = runs(client)["broken"]
        assert run.info.status == "FAILED"
        assert run.data.tags["sa.error"] == "first second"

    def test_the_end_of_standard_error_is_logged_with_a_run_that_fails(self, client: MlflowClient) -> None:
        def fail() -> None:
            with open_run("broken", nested=False, tags={}):
                sys.stderr.write("10 %\r20 %\nlast words\n")
                raise ZeroDivisionError("why")

        with pytest.raises(ZeroDivisionError):
            fail()
        run_id = runs(client)["broken"].info.run_id
        text = mlflow.artifacts.load_text(f"runs:/{run_id}/{last_words.ARTIFACT}")
        assert text.startswith("20 %\nlast words\n")
        assert text.endswith("ZeroDivisionError: why\n")

    @pytest.mark.parametrize("stop", [Stopped("SIGTERM"), KeyboardInterrupt()])
    def test_a_stop_kills_it(self, client: MlflowClient, stop: BaseException) -> None:
        with pytest.raises(type(stop)), open_run("stopped", nested=False, tags={}):
            raise stop
        assert runs(client)["stopped"].info.status == "KILLED"

    def test_exiting_early_fails_it(self, client: MlflowClient) -> None:
        with pytest.raises(SystemExit), open_run("left", nested=False, tags={}):
            sys.exit(3)
        assert runs(client)["left"].info.status == "FAILED"

    def test_a_failure_inside_leaves_no_run_open(self, client: MlflowClient) -> None:
        with pytest.raises(ValueError, match="no"), open_run("outer", nested=False, tags={}):  # noqa: SIM117
            with open_run("inner", nested=True, tags={}):
                raise ValueError("no")
        assert mlflow.active_run() is None
        assert {name: r.info.status for name, r in runs(client).items()} == {
            "outer": "FAILED",
            "inner": "FAILED",
        }

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_kills_the_run_and_the_nested_one(
        self, client: MlflowClient, tmp_path: Path, number: signal.Signals
    ) -> None:
        process = begun(tmp_path, "ready\n", "-c", WAITING)
        process.send_signal(number)
        assert process.wait(timeout=120) != 0
        assert {name: r.info.status for name, r in runs(client).items()} == {
            "outer": "KILLED",
            "inner": "KILLED",
        }

    def test_a_stage_that_is_terminated_ends_with_130_and_registers_nothing(
        self, own_store: Store, tmp_path: Path
    ) -> None:
        client = MlflowClient()
        command = ("base", "--dataset", "digits", "--steps", "1000")
        process = begun(tmp_path, "base  ", "-m", "sa_mlops", *command)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 130
        errors = (tmp_path / "err").read_text()
        assert errors.splitlines()[-1] == "sa-mlops: interrupted; nothing unfinished was registered"
        assert "Traceback" not in errors
        newest = client.search_runs(["1"], order_by=["attributes.start_time DESC"], max_results=1)[0]
        assert newest.info.status == "KILLED"
        assert int(client.get_model_version_by_alias("sa-cvae", "latest").version) == 3


class TestNesting:
    def test_a_nested_run_names_its_parent(self, client: MlflowClient) -> None:
        with open_run("outer", nested=False, tags={}) as outer, open_run("inner", nested=True, tags={}):
            pass
        assert runs(client)["inner"].data.tags["mlflow.parentRunId"] == outer

    def test_without_a_word_from_outside_runs_go_to_the_projects_experiment(
        self, client: MlflowClient
    ) -> None:
        with open_run("mine", nested=False, tags={}):
            pass
        experiment = client.get_experiment(runs(client)["mine"].info.experiment_id)
        assert experiment.name == "sa-mlops"


class TestRunThatMlflowOpened:
    """`mlflow run` opens a run, maybe in an experiment by name, and says so by environment variables."""

    CODE = (
        "from sa_mlops.registry.tracking import connect, open_run\n"
        "connect()\n"
        "with open_run('ours', nested=False, tags={'sa.entry': 'base'}) as run_id: print(run_id)\n"
        "with open_run('next', nested=False, tags={}) as run_id: print(run_id)\n"
    )

    def test_a_name_that_mlflow_made_up_is_replaced(self, client: MlflowClient, python: Run) -> None:
        opened = client.create_run("0", run_name="amazing-wasp-363").info.run_id
        done = python("-c", self.CODE, MLFLOW_RUN_ID=opened, MLFLOW_EXPERIMENT_ID="0")
        assert done.returncode == 0, done.stderr
        assert client.get_run(opened).info.run_name == "ours"

    def test_it_is_taken_over_where_it_is(self, client: MlflowClient, python: Run) -> None:
        experiment = client.create_experiment("theirs")
        opened = client.create_run(experiment, run_name="as mlflow named it").info.run_id
        done = python("-c", self.CODE, MLFLOW_RUN_ID=opened, MLFLOW_EXPERIMENT_ID=experiment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[0] == opened
        run = client.get_run(opened)
        assert (run.info.experiment_id, run.info.run_name) == (experiment, "as mlflow named it")
        assert (run.info.status, run.data.tags["sa.entry"]) == ("FINISHED", "base")
        assert client.get_experiment_by_name("sa-mlops") is None

    def test_the_experiment_is_shown_as_one_of_training_with_a_view_of_results(
        self, client: MlflowClient
    ) -> None:
        with open_run("run", nested=False, tags={}):
            pass
        tags = client.get_experiment_by_name("sa-mlops").tags
        assert tags[KIND] == TRAINING
        assert "metrics.`forget.prob`" in json.loads(tags[VIEW])["selectedColumns"]

    def test_an_experiment_named_by_the_user_keeps_its_name(self, client: MlflowClient) -> None:
        client.create_experiment("sa-mlops", tags={KIND: "finetuning"})
        with open_run("run", nested=False, tags={}):
            pass
        assert client.get_experiment_by_name("sa-mlops").tags[KIND] == "finetuning"

    def test_an_experiment_from_the_environment_is_used(self, client: MlflowClient, python: Run) -> None:
        done = python("-c", self.CODE, MLFLOW_EXPERIMENT_NAME="by name")
        assert done.returncode == 0, done.stderr
        experiment = client.get_experiment_by_name("by name")
        assert experiment is not None
        assert {client.get_run(r).info.experiment_id for r in done.stdout.split()} == {
            experiment.experiment_id
        }


class TestManyProcesses:
    COUNT = 3

    def test_processes_that_start_at_once_on_a_fresh_store_lose_nothing(self, tmp_path: Path) -> None:
        logs = [tmp_path / str(i) for i in range(self.COUNT)]
        processes = [
            warm.start(("-c", ONE_RUN, log.name), tmp_path, child_environment(), log) for log in logs
        ]
        failures = [log.read_text() for p, log in zip(processes, logs, strict=True) if p.wait(600)]
        assert failures == []
        client = MlflowClient()
        found = runs(client)
        assert found.keys() == {f"run {i}" for i in range(self.COUNT)}
        assert {r.info.status for r in found.values()} == {"FINISHED"}
        for i in range(self.COUNT):
            history = client.get_metric_history(found[f"run {i}"].info.run_id, "loss")
            assert [(m.step, m.value) for m in history] == [(step, float(i)) for step in range(5)]
        assert len([e for e in client.search_experiments() if e.name == "sa-mlops"]) == 1


class TestConnect:
    def test_a_folder_that_is_not_there_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/mlflow.db")
        with pytest.raises(StoreError, match="nowhere does not exist"):
            tracking.connect()

    @pytest.mark.parametrize("uri", ["ftp://example.invalid", "sqlite+x:///a.db"])
    def test_a_store_of_an_unknown_kind_is_one_line(self, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(StoreError) as caught:
            tracking.connect()
        assert "\n" not in str(caught.value)
        assert uri in str(caught.value)


class Faltering(BaseHTTPRequestHandler):
    """A server whose first answers break off in the middle."""

    broken = 0
    asked = 0

    def do_POST(self) -> None:
        kind = type(self)
        kind.asked += 1
        whole = kind.asked > kind.broken
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2" if whole else "473")
        self.end_headers()
        if whole:
            self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing."""


class TestAnswersThatBreakOff:
    @pytest.fixture
    def faltering(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faltering]]:
        class Handler(Faltering):
            pass

        monkeypatch.setattr(tracking.time, "sleep", lambda _seconds: None)
        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
            yield Handler
            server.shutdown()
            thread.join()

    def test_the_server_is_asked_again(self, faltering: type[Faltering]) -> None:
        faltering.broken = tracking.TRIES - 1
        tracking.connect()
        assert faltering.asked == tracking.TRIES

    def test_but_not_for_ever(self, faltering: type[Faltering]) -> None:
        faltering.broken = 1_000
        with pytest.raises(StoreError, match="IncompleteRead"):
            tracking.connect()
        assert faltering.asked == tracking.TRIES

    def test_other_errors_are_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []

        @tracking.asked_again
        def call() -> None:
            made.append(1)
            raise tracking.MlflowException("refused")

        with pytest.raises(tracking.MlflowException, match="refused"):
            call()
        assert len(made) == 1


class TestRecorder:
    @pytest.fixture
    def recorder(self, client: MlflowClient) -> Recorder:
        return Recorder(client, client.create_run("0").info.run_id)

    def test_more_points_than_a_batch_holds_all_arrive(
        self, client: MlflowClient, recorder: Recorder
    ) -> None:
        count = tracking.BATCH * 2 + 1
        recorder.series({"loss": [(step, step, 1.0) for step in range(count)]})
        assert len(client.get_metric_history(recorder.run_id, "loss")) == count

    def test_values_that_are_not_finite_are_left_out(self, client: MlflowClient, recorder: Recorder) -> None:
        recorder.metrics({"good": 1.0, "bad": math.nan, "worse": math.inf})
        assert client.get_run(recorder.run_id).data.metrics == {"good": 1.0}

    def test_a_parameter_that_mlflow_run_has_logged_is_left_as_it_is(
        self, client: MlflowClient, recorder: Recorder
    ) -> None:
        client.log_param(recorder.run_id, "steps", "auto")
        recorder.params({"steps": "300", "seed": "0"})
        assert client.get_run(recorder.run_id).data.params == {"steps": "auto", "seed": "0"}

    def test_the_pin_is_the_digest_of_the_dataset(self, client: MlflowClient) -> None:
        with open_run("data", nested=False, tags={}) as run_id:
            Recorder(client, run_id).dataset("mnist", "126198369362df7c54984cf13f63be96.dir")
        (used,) = client.get_run(run_id).inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("mnist", "126198369362df7c54984cf13f63be96.dir")


class TestGitCommit:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        root = tmp_path / "checkout"
        root.mkdir()
        (root / "tracked").write_text("1")
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run(
                ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", *words],
                cwd=root,
                check=True,
            )
        return root

    def test_it_is_the_commit(self, checkout: Path) -> None:
        assert len(tracking.git_commit(checkout)) == 40

    def test_a_changed_file_is_told_and_an_unknown_one_is_not(self, checkout: Path) -> None:
        clean = tracking.git_commit(checkout)
        (checkout / "untracked").write_text("")
        assert tracking.git_commit(checkout) == clean
        (checkout / "tracked").write_text("2")
        assert tracking.git_commit(checkout) == f"{clean}-dirty"

    def test_outside_of_a_checkout_it_is_empty(self, tmp_path: Path) -> None:
        assert tracking.git_commit(tmp_path) == ""
