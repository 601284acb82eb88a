"""One study in PostgreSQL: two commands with two workers each, of which two are killed at their trials."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, TrialState
from stores import PATIENCE, ROOT, child_environment, wait_for

from sa_mlops.registry import processes
from sa_mlops.tuning import storage
from sa_mlops.tuning import study as studies
from scripts.serving import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WANTED = 6
TUNE = (
    *("tune", "--dataset", "digits", "--from-version", "1", "--fisher-samples", "2000", "--classes", "1"),
    *("--steps", "10,20", "--samples", "20", "--final-seeds", "0", "--sampler", "random"),
    *("--study", "shared", "--workers", "2", "--trials", str(WANTED), "--json"),
)


@dataclass(frozen=True)
class Killed:
    """A finished study.

    Attributes
    ----------
    victims : the trials whose workers were killed, as they were then.
    documents : what the commands printed.
    runs : of trials.
    """

    trials: list[FrozenTrial]
    victims: list[FrozenTrial]
    documents: list[dict[str, Any]]
    runs: list[Run]

    @property
    def complete(self) -> list[FrozenTrial]:
        return [t for t in self.trials if t.state == TrialState.COMPLETE]


@pytest.fixture(scope="module")
def killed(server: Server) -> Killed:
    server.psql("CREATE DATABASE studies")
    environment = child_environment(**server.environment, OMP_NUM_THREADS="1")
    place = server.database("studies")
    command = [sys.executable, str(ROOT / "scripts" / "brief.py"), *TUNE, "--storage", place]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", environment["PGPASSFILE"])
        commands = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                cwd=server.folder,
            )
            for _ in range(2)
        ]  # fmt: skip
        try:
            # Opening makes the tables if they are not there yet.
            with storage.alone(place):
                opened = storage.open_storage(place)
            wait_for(lambda: "shared" in optuna.get_all_study_names(opened), commands[0])
            study = optuna.load_study(study_name="shared", storage=opened)
            victims: list[FrozenTrial] = []
            gone: list[dict[str, Any]] = []
            while len(victims) < 2:
                victim = wait_for(lambda: at_work(study, gone), commands[0])
                gone.append(victim.user_attrs[studies.WORKER])
                os.kill(int(gone[-1][processes.PID]), signal.SIGKILL)
                # It may have finished that trial in the last moment.
                if study.trials[victim.number].state != TrialState.COMPLETE:
                    victims.append(victim)
            said = [p.communicate(timeout=PATIENCE) for p in commands]
        finally:
            for process in commands:
                process.kill()
                process.wait()
    # 1 says that no trial keeps the constraint: none trains for long here.
    assert all(p.returncode in (0, 1) for p in commands), [log[-1500:] for _, log in said]
    assert all("Traceback" not in log for _, log in said), [log[-1500:] for _, log in said]
    client = MlflowClient(server.url)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = list(client.search_runs(experiments, "tags.`sa.study` = 'shared' AND tags.`sa.stage` = 'trial'"))
    return Killed(study.get_trials(), victims, [json.loads(out) for out, _ in said], runs)


def at_work(study: optuna.Study, gone: list[dict[str, Any]]) -> FrozenTrial | None:
    """A trial in the middle whose worker is not gone."""
    running = study.get_trials(states=(TrialState.RUNNING,))
    fit = (
        t for t in running
        if studies.RUN in t.user_attrs and len(t.params) == 4 and t.user_attrs[studies.WORKER] not in gone
    )  # fmt: skip
    return next(fit, None)


def test_no_trial_is_lost_and_none_is_one_too_many(killed: Killed) -> None:
    assert len(killed.complete) == WANTED


def test_numbers_are_unique_and_none_is_left_out(killed: Killed) -> None:
    assert [t.number for t in killed.trials] == list(range(len(killed.trials)))


def test_trials_of_killed_workers_failed_and_ran_again_once(killed: Killed) -> None:
    again = Counter(json.dumps(t.params, sort_keys=True) for t in killed.complete)
    assert [killed.trials[v.number].state for v in killed.victims] == [TrialState.FAIL] * 2
    assert [again[json.dumps(v.params, sort_keys=True)] for v in killed.victims] == [1, 1]


def test_no_values_were_tried_twice(killed: Killed) -> None:
    assert len({json.dumps(t.params, sort_keys=True) for t in killed.complete}) == WANTED


def test_every_finished_trial_has_one_run_and_every_run_a_trial(killed: Killed) -> None:
    finished = Counter(r.data.tags["sa.trial"] for r in killed.runs if r.info.status == "FINISHED")
    assert finished == Counter(str(t.number) for t in killed.complete)
    assert {r.info.run_id for r in killed.runs if r.info.status == "FINISHED"} == {
        t.user_attrs[studies.RUN] for t in killed.complete
    }


def test_runs_of_killed_workers_are_killed(killed: Killed) -> None:
    status = {r.info.run_id: r.info.status for r in killed.runs}
    assert [status[v.user_attrs[studies.RUN]] for v in killed.victims] == ["KILLED"] * 2
    assert "RUNNING" not in status.values()


def test_one_command_led(killed: Killed) -> None:
    assert len({r.data.tags["mlflow.parentRunId"] for r in killed.runs}) == 1
    assert sorted("hypervolume" in d for d in killed.documents) == [False, True]
