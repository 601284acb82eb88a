"""Invariants of a store under faults and load, for the campaigns beside this file.

Each function opens the store that `MLFLOW_TRACKING_URI` names, and returns JSON types only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

REQUIRED = ("sa.stage", "sa.config", "sa.settings", "sa.dataset", "sa.data_md5", "sa.seed", "sa.parent")


def state() -> dict[str, Any]:
    """Versions, aliases and run statuses of the store, and its incomplete versions."""
    from mlflow.tracking import MlflowClient

    from sa_mlops.datasets import mnist
    from sa_mlops.models.interface import make_net
    from sa_mlops.registry import log, names, tracking, versions, weights

    client: MlflowClient = tracking.connect()
    broken = []
    found = {}
    for name in names.MODELS:
        for version in versions.all_versions(client, name):
            status = client.get_run(version.run_id).info.status
            found[version.uri] = status
            try:
                folder = versions.files(version)
                if name == names.GENERATORS:
                    weights.load_cvae(folder / "artifacts")
                elif name == names.FISHERS:
                    weights.load_fisher(folder, make_net("mlp", mnist.SPEC, 8))
                else:
                    weights.load_judge(folder)
            except Exception as error:
                broken.append(f"{version.uri}: {error}")
            required = [t for t in REQUIRED if t != "sa.parent" or version.stage in ("forget", "fim")]
            if missing := [t for t in required if t not in version.tags]:
                broken.append(f"{version.uri} lacks {missing}")
            metrics = tracking.run_metrics(client, version.run_id)
            metric = {"fim": "fisher.trace", "judge": "judge.accuracy"}.get(version.stage, "retain.accuracy")
            if metric not in metrics:
                broken.append(f"{version.uri} has no {metric}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    running = [r.info.run_id for r in client.search_runs(experiments, "attributes.status = 'RUNNING'")]
    aliases = {}
    for model in client.search_registered_models():
        aliases[model.name] = {alias: int(number) for alias, number in model.aliases.items()}
    events = [asdict(e) for e in log.alias_history(client, names.GENERATORS)]
    return {"versions": found, "broken": broken, "running": running, "aliases": aliases, "events": events}


def heal() -> dict[str, Any]:
    """Findings of `doctor` after `doctor --fix`."""
    from sa_mlops.operate import doctor

    doctor.examine(fix=True)
    return {"wrong": [f for f in doctor.examine().document["findings"] if f["level"] == "wrong"]}


def aftermath() -> dict[str, Any]:
    """State of the store after a fault, and after `doctor --fix`."""
    left = state()
    return {"left": left, **heal(), "fixed": state()}
