"""Versions of the trials on the front of a study. Other trials have runs alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlflow
import optuna
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from sa_mlops.registry import names, versions
from sa_mlops.registry.version import Version
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.objective import STUDY, TRIAL, TrialRunner

SETTLED = 6
"""Later finished trials that a trial must stay on the front for before it is registered."""


@dataclass(frozen=True, slots=True)
class Published:
    """The registered versions of a trial: their numbers, and whether all of them pass every gate."""

    versions: tuple[int, ...]
    passed: bool


def published(study: optuna.Study, trial: FrozenTrial) -> Published | None:
    """The registered versions of a trial, None if it never had any."""
    found: dict[str, Any] | None = study.user_attrs.get(_key(trial))
    return None if found is None else Published(tuple(found["versions"]), bool(found["passed"]))


def _key(trial: FrozenTrial) -> str:
    return f"published.{trial.number}"


def due(study: optuna.Study, settled: int) -> Iterator[FrozenTrial]:
    """Trials of the front without versions that are older than `settled` other finished trials."""
    found = studies.finished(study)
    order = sorted(found.trials, key=lambda t: (t.datetime_complete is None, t.datetime_complete))
    behind = {t.number: len(order) - 1 - i for i, t in enumerate(order)}
    for trial in found.best:
        if behind[trial.number] >= settled and published(study, trial) is None:
            yield trial


def publish(runner: TrialRunner, study: optuna.Study, trial: FrozenTrial) -> Published:
    """Register a trial's generators, one for each class and seed, as `forget` does.

    They are trained again: equal values, seed and start give equal weights, and trials need not store theirs.
    """
    client = runner.ctx.client
    run_id = trial.user_attrs[studies.RUN]
    numbers, passed = [], True
    mlflow.start_run(run_id=run_id, nested=True)
    try:
        for _, step in runner.steps(trial.params):
            version = runner.publish(step)
            if client.get_run(version.run_id).data.tags.get("mlflow.parentRunId") == run_id:
                for key, value in ((STUDY, study.study_name), (TRIAL, str(trial.number))):
                    client.set_model_version_tag(version.name, str(version.number), key, value)
            numbers.append(version.number)
            passed = passed and runner.passes(version)
    finally:
        # The trial has finished, also if this fails.
        mlflow.end_run("FINISHED")
    study.set_user_attr(_key(trial), {"versions": numbers, "passed": passed})
    return Published(tuple(numbers), passed)


def sweep(runner: TrialRunner, study: optuna.Study) -> list[Version]:
    """Delete the versions of trials that are no longer on the front, unless they have an alias; their runs stay.

    Returns
    -------
    The deleted versions.
    """
    client = runner.ctx.client
    best = {str(t.number) for t in studies.finished(study).best}
    deleted = []
    text = f"name = '{names.GENERATORS}' AND tags.`{STUDY}` = '{study.study_name}'"
    for version in list(versions.search(client, text)):
        if version.tags.get(TRIAL) in best or versions.get(client, version.name, version.number).aliases:
            continue
        client.delete_model_version(version.name, str(version.number))
        deleted.append(version)
    return deleted


def end_failed(client: MlflowClient, experiment: str, study: optuna.Study) -> None:
    """End the runs of failed trials as KILLED: their workers died before they could."""
    failed = {str(t.number) for t in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))}
    for run in client.search_runs(
        [experiment], f"tags.`{STUDY}` = '{study.study_name}' AND attributes.status = 'RUNNING'"
    ):
        if run.data.tags.get(TRIAL) not in failed:
            continue
        text = f"tags.`mlflow.parentRunId` = '{run.info.run_id}' AND attributes.status = 'RUNNING'"
        for child in client.search_runs([experiment], text):
            client.set_terminated(child.info.run_id, "KILLED")
        client.set_terminated(run.info.run_id, "KILLED")
