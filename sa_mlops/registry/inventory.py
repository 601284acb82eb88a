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
from sa_mlops.errors import CommandError
from sa_mlops.registry import log, names, tables
from sa_mlops.registry.version import Version

PAGE = 1000
"""Runs read at a time."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The content of a store at one moment.

    Attributes
    ----------
    versions : with their aliases, in the order of `names.MODELS` and of their numbers.
    aliases : registered model -> alias -> version number.
    records : tags of the registered model of the generators, among them its log (`registry.log`).
    tags, metrics : run -> those asked for that it has, also of deleted runs: their files are there until MLflow's `gc`.
    """

    versions: tuple[Version, ...] = ()
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read(uri: str, tags: Sequence[str] = (), metrics: Sequence[str] | None = ()) -> Inventory:
    """The inventory of a store. A sqlite file that does not exist is an empty store, and is not made.

    Raises CommandError if the store cannot be read.

    Parameters
    ----------
    uri : MLflow's tracking URI; that of this process if it is not of a sqlite file.
    tags, metrics : keys to be read of the runs; None for all metrics.
    """
    path = environment.database(uri)
    if path is None or os.environ.get("MLFLOW_REGISTRY_URI", uri) != uri:
        return ask(tags, metrics)
    if not path.parent.is_dir():
        raise CommandError(f"tracking store {uri}: the folder {path.parent} does not exist")
    if not path.exists() or not path.stat().st_size:
        return Inventory()
    return _read(path, tags, metrics)


def _read(path: Path, tags: Sequence[str], metrics: Sequence[str] | None) -> Inventory:
    """From the tables of a sqlite file."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    measured: dict[str, dict[str, float]] = defaultdict(dict)
    with tables.opened(path) as db:
        found = tables.versions(db).values()
        aliases = tables.aliases(db)
        records = tables.model_tags(db, names.GENERATORS)
        for run_id, key, value in tables.values(db, "tags", keys=tags):
            told[run_id][key] = str(value)
        for run_id, key, value in tables.values(db, "latest_metrics", keys=metrics):
            measured[run_id][key] = float(value)
    return Inventory(_ordered(found, aliases), aliases, records, told, measured)


def ask(tags: Sequence[str], metrics: Sequence[str] | None) -> Inventory:
    """The inventory of this process's store from MLflow, a page at a time. Parameters as in `read`."""
    from mlflow.entities import ViewType

    from sa_mlops.registry import tracking, versions

    client, everything = tracking.connect(), ViewType.ALL
    found = [v for name in names.MODELS for v in versions.all_versions(client, name)]
    aliases = {name: log.alias_map(client, name) for name in names.MODELS}
    records = log.records(client, names.GENERATORS)
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
        numbers = run.data.metrics
        measured[run.info.run_id] = {k: v for k, v in numbers.items() if metrics is None or k in metrics}
    return Inventory(_ordered(found, aliases), aliases, records, told, measured)


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
