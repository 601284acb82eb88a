"""Every version of a store, and of every run the tags and metrics that are asked for.

A sqlite file is read directly: importing MLflow takes longer than that. Other stores are asked through MLflow.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sa_mlops import environment
from sa_mlops.registry import names, tables
from sa_mlops.registry.version import Version

PAGE = 1000
"""Runs read at a time."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store held at one moment.

    Attributes
    ----------
    versions : with their aliases, in the order of `names.MODELS` and of their numbers.
    tags, metrics : run -> those asked for that it has, also of deleted runs: their files are there until MLflow's `gc`.
    """

    versions: tuple[Version, ...] = ()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read(uri: str, tags: Sequence[str], metrics: Sequence[str]) -> Inventory:
    """The inventory of a store. A sqlite file that does not exist is an empty store, and is not made.

    Parameters
    ----------
    uri : MLflow's tracking URI; that of this process if it is not of a sqlite file.
    tags, metrics : keys to be read of the runs.

    Raises
    ------
    CommandError : if the store cannot be read.
    """
    path = environment.database(uri)
    if path is None or os.environ.get("MLFLOW_REGISTRY_URI", uri) != uri:
        return _ask(tags, metrics)
    if not path.exists() or not path.stat().st_size:
        return Inventory()
    return _read(path, tags, metrics)


def _read(path: Path, tags: Sequence[str], metrics: Sequence[str]) -> Inventory:
    """From the tables of a sqlite file."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    measured: dict[str, dict[str, float]] = defaultdict(dict)
    with tables.opened(path) as db:
        found = tables.versions(db).values()
        aliases = tables.aliases(db)
        for run_id, key, value in tables.values(db, "tags", keys=tags):
            told[run_id][key] = str(value)
        for run_id, key, value in tables.values(db, "latest_metrics", keys=metrics):
            measured[run_id][key] = float(value)
    return Inventory(_ordered(found, aliases), told, measured)


def _ask(tags: Sequence[str], metrics: Sequence[str]) -> Inventory:
    """From MLflow, a page at a time."""
    from mlflow.entities import ViewType

    from sa_mlops.registry import lineage, tracking, versions

    client, everything = tracking.connect(), ViewType.ALL
    found = [v for name in names.MODELS for v in versions.all_versions(client, name)]
    aliases = {name: lineage.alias_map(client, name) for name in names.MODELS}
    experiments = [
        e.experiment_id
        for e in versions.paged(
            lambda token: client.search_experiments(view_type=everything, max_results=PAGE, page_token=token)
        )
    ]
    told, measured = {}, {}
    for run in versions.paged(
        lambda token: client.search_runs(experiments, "", everything, max_results=PAGE, page_token=token)
    ):
        told[run.info.run_id] = {k: v for k, v in run.data.tags.items() if k in tags}
        measured[run.info.run_id] = {k: v for k, v in run.data.metrics.items() if k in metrics}
    return Inventory(_ordered(found, aliases), told, measured)


def _ordered(found: Iterable[Version], aliases: Mapping[str, Mapping[str, int]]) -> tuple[Version, ...]:
    pointed: dict[tables.Key, list[str]] = defaultdict(list)
    for name, numbers in aliases.items():
        for alias, number in sorted(numbers.items()):
            pointed[name, number].append(alias)
    ordered = sorted(found, key=lambda v: (names.MODELS.index(v.name), v.number))
    return tuple(
        replace(v, aliases=tuple(pointed[v.name, v.number])) if (v.name, v.number) in pointed else v
        for v in ordered
    )
