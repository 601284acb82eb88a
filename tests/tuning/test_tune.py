"""`tune` as a command of its own: two workers of which one is killed, the study resumed, and one interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, TrialState
from stores import PATIENCE, Store, child_environment, wait_for

from sa_mlops.cli import main
from sa_mlops.registry import processes
from sa_mlops.tuning import storage
from sa_mlops.tuning import study as studies

pytestmark = pytest.mark.integration

TUNE = (
    *("tune", "--dataset", "digits", "--from-version", "1", "--fisher-samples", "500", "--classes", "1"),
    *("--steps", "40,60", "--samples", "100", "--final-seeds", "1", "--study", "s", "--json"),
)
SHORT = """
import dataclasses, sys
from scripts import brief
from sa_mlops.methods.selective_amnesia import OPTIMISATION
OPTIMISATION["fast"] = dataclasses.replace(OPTIMISATION["fast"], steps=100)
sys.exit(brief.main(sys.argv[1:]))
"""
"""The command with a default recipe of fewer steps, which the final comparison would take 400 for, and few samples."""


@dataclass(frozen=True)
class Study:
    """A study and the store beside it."""

    store: Store

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.store.uri)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        place = self.store.folder / "studies" / "s.journal"
        if not place.exists():
            return []
        opened = storage.open_storage(str(place))
        try:
            study = optuna.load_study(study_name="s", storage=opened)
        except KeyError:
            return []
        return study.get_trials(states=states or None)

    def start(self, *more: str) -> subprocess.Popen[str]:
        environment = child_environment(MLFLOW_TRACKING_URI=self.store.uri)
        return subprocess.Popen(
            [sys.executable, "-c", SHORT, *TUNE, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=self.store.folder,
        )

    def runs(self, text: str) -> list[Any]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, text))

    def registered(self) -> set[str]:
        found = self.client.search_model_versions("name = 'sa-cvae' AND tags.`sa.study` = 's'")
        return {v.tags["sa.trial"] for v in found}


def copied(digits_store: Store, folder: Path) -> Study:
    shutil.copy(digits_store.folder / "mlflow.db", folder / "mlflow.db")
    return Study(Store(folder))


def running(study: Study) -> list[FrozenTrial]:
    """Trials at work whose run is open."""
    return [t for t in study.trials(TrialState.RUNNING) if studies.RUN in t.user_attrs and t.params]


@dataclass(frozen=True)
class Killed:
    """A finished study in which one worker was killed at a trial."""

    study: Study
    victim: FrozenTrial
    done_before: int
    document: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def killed(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    study = copied(digits_store, tmp_path_factory.mktemp("killed"))
    process = study.start("--workers", "2", "--trials", "4")
    try:
        wait_for(lambda: study.trials(TrialState.COMPLETE), process)
        victim = wait_for(lambda: running(study), process)[0]
        done = len(study.trials(TrialState.COMPLETE))
        os.kill(int(victim.user_attrs[studies.WORKER][processes.PID]), signal.SIGKILL)
        out, log = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, 1), log
    return Killed(study, victim, done, json.loads(out), log)


def test_study_has_as_many_finished_trials_as_wanted(killed: Killed) -> None:
    assert len(killed.study.trials(TrialState.COMPLETE)) == 4


def test_finished_trials_outlive_a_killed_worker(killed: Killed) -> None:
    numbers = [t.number for t in killed.study.trials(TrialState.COMPLETE)]
    assert len([n for n in numbers if n <= killed.victim.number + 1]) >= killed.done_before


def test_trial_of_the_killed_worker_failed(killed: Killed) -> None:
    assert killed.study.trials()[killed.victim.number].state == TrialState.FAIL


def test_values_of_the_killed_worker_were_tried_again(killed: Killed) -> None:
    again = [t for t in killed.study.trials(TrialState.COMPLETE) if t.params == killed.victim.params]
    assert len(again) == 1


def test_run_of_the_killed_worker_is_killed(killed: Killed) -> None:
    run_id = killed.victim.user_attrs[studies.RUN]
    assert killed.study.client.get_run(run_id).info.status == "KILLED"


def test_no_run_is_left_open(killed: Killed) -> None:
    assert killed.study.runs("attributes.status = 'RUNNING'") == []


def test_every_trial_is_a_run_nested_under_the_study(killed: Killed) -> None:
    parent = killed.study.runs("tags.`sa.entry` = 'tune'")[0].info.run_id
    nested = killed.study.runs(f"tags.`mlflow.parentRunId` = '{parent}' AND tags.`sa.stage` = 'trial'")
    assert {r.data.tags["sa.trial"] for r in nested} >= {
        str(t.number) for t in killed.study.trials(TrialState.COMPLETE)
    }


def test_versions_are_registered_for_the_front_alone(killed: Killed) -> None:
    assert killed.study.registered() == {str(t["trial"]) for t in killed.document["front"]}


def test_study_logs_its_table_and_pictures(killed: Killed) -> None:
    parent = killed.study.runs("tags.`sa.entry` = 'tune'")[0].info.run_id
    names = {
        f.path for folder in ("figures", "tables") for f in killed.study.client.list_artifacts(parent, folder)
    }
    assert names >= {
        *(
            f"figures/{name}.png"
            for name in ("pareto", "slices", "importance", "contour_gap", "contour_retention")
        ),
        *("tables/trials.json", "tables/trials.csv", "tables/final.csv"),
    }


def test_chosen_settings_meet_the_default_and_the_paper_under_a_fresh_seed(killed: Killed) -> None:
    assert killed.document["final"]["seeds"] == [1]
    assert set(killed.document["final"]["summary"]) == {
        "chosen", "default recipe", "default, tight budget", "paper, tight budget",
    }  # fmt: skip


def test_champion_is_named_only_if_no_gate_is_missed(killed: Killed) -> None:
    final = killed.document["final"]
    assert (final["champion"] is None) == bool(final["missed"])


def test_settings_file_makes_the_version_of_the_chosen_trial(
    killed: Killed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", killed.study.store.uri)
    words = ("--dataset", "digits", "--from-version", "1", "--classes", "1", "--json")
    assert main(["forget", *words, "--settings", killed.document["settings_file"]]) == 0
    (version, *_) = killed.document["knee"]["versions"]
    assert json.loads(capsys.readouterr().out)["version"] == f"models:/sa-cvae/{version}"


def test_study_is_interrupted_and_resumed(
    digits_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = copied(digits_store, tmp_path)
    process = study.start("--trials", "2", "--final-seeds", "0")
    try:
        wait_for(lambda: study.trials(TrialState.COMPLETE) and running(study), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    kept = {t.number: t.values for t in study.trials(TrialState.COMPLETE)}
    (parent,) = study.runs("tags.`sa.entry` = 'tune'")
    assert process.returncode == 130
    assert parent.info.status == "KILLED"
    assert study.trials(TrialState.RUNNING) == []
    assert study.runs("attributes.status = 'RUNNING'") == []
    assert "tables/trials.csv" in {f.path for f in study.client.list_artifacts(parent.info.run_id, "tables")}

    assert main([*TUNE, "--trials", "2", "--final-seeds", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 2
    after = {t.number: t.values for t in study.trials(TrialState.COMPLETE)}
    assert kept.items() <= after.items()
