"""The registry beside a study: versions of the trials on the front, and of no others; the runs of trials stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlflow
import optuna
from optuna.trial import FrozenTrial

from sa_mlops.registry import names, versions
from sa_mlops.registry.version import Version
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.objective import STUDY, TRIAL, Bench

SETTLED = 6
"""Finished trials that one of the front must outlast before it is registered: most newcomers do not last."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the registry has of a trial: version numbers, and whether all of them pass every gate."""

    versions: tuple[int, ...]
    passed: bool


def published(study: optuna.Study, trial: FrozenTrial) -> Published | None:
    """What the registry has of a trial, None if it never had anything."""
    found: dict[str, Any] | None = study.user_attrs.get(_key(trial))
    return None if found is None else Published(tuple(found["versions"]), bool(found["passed"]))


def _key(trial: FrozenTrial) -> str:
    return f"published.{trial.number}"


def due(study: optuna.Study, settled: int) -> Iterator[FrozenTrial]:
    """Trials of the front that are not registered yet and have outlasted `settled` others."""
    found = studies.outcome(study)
    order = sorted(found.trials, key=lambda t: (t.datetime_complete is None, t.datetime_complete))
    behind = {t.number: len(order) - 1 - i for i, t in enumerate(order)}
    for trial in found.best:
        if behind[trial.number] >= settled and published(study, trial) is None:
            yield trial


def publish(bench: Bench, study: optuna.Study, trial: FrozenTrial) -> Published:
    """Register a trial's generators, one for each digit and seed, with everything that `forget` gives a version.

    They are made anew: the same values, seed and start give the same weights, and a trial that nobody will look at
    need not leave files behind.
    """
    client = bench.ctx.client
    run_id = trial.user_attrs[studies.RUN]
    numbers, passed = [], True
    mlflow.start_run(run_id=run_id, nested=True)
    try:
        for step in bench.steps(trial.params):
            version = bench.publish(step)
            if client.get_run(version.run_id).data.tags.get("mlflow.parentRunId") == run_id:
                for key, value in ((STUDY, study.study_name), (TRIAL, str(trial.number))):
                    client.set_model_version_tag(version.name, str(version.number), key, value)
            numbers.append(version.number)
            passed = passed and bench.passes(version)
    finally:
        # The trial was finished before and still is, whatever happens here.
        mlflow.end_run("FINISHED")
    study.set_user_attr(_key(trial), {"versions": numbers, "passed": passed})
    return Published(tuple(numbers), passed)


def sweep(bench: Bench, study: optuna.Study) -> list[Version]:
    """Delete the versions of trials that are not, or no longer, on the front; their runs stay.

    A version that somebody gave an alias stays as well.

    Returns
    -------
    The versions that were deleted.
    """
    client = bench.ctx.client
    keep = {str(t.number) for t in studies.outcome(study).best}
    gone = []
    text = f"name = '{names.GENERATORS}' AND tags.`{STUDY}` = '{study.study_name}'"
    for version in list(versions.search(client, text)):
        if version.tags.get(TRIAL) in keep or versions.get(client, version.name, version.number).aliases:
            continue
        client.delete_model_version(version.name, str(version.number))
        gone.append(version)
    return gone
