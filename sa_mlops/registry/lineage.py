"""The tree of versions: each generator under its parent. Without torch, so that the terminal UI starts fast."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from sa_mlops.registry import names, versions
from sa_mlops.registry.version import SHOWN, Version, ancestry
from sa_mlops.settings import fingerprint

PAGE = 200
"""Runs read at a time."""
MANY_EXPERIMENTS = 10_000
RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A version with the results of its run."""

    version: Version
    metrics: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """The entry in JSON types."""
        v = self.version
        return {
            "uri": v.uri,
            "name": v.name,
            "version": v.number,
            "stage": v.stage,
            "parent": names.version_uri(names.GENERATORS, v.parent) if v.parent else None,
            "forgotten": list(v.forgotten),
            "aliases": list(v.aliases),
            "tags": dict(v.tags),
            "metrics": dict(self.metrics),
            "run_id": v.run_id,
            "created": v.created,
        }


@dataclass(frozen=True, slots=True)
class Lineage:
    """All versions of the three registered models, oldest first."""

    entries: tuple[Entry, ...]
    _below: Mapping[int, list[Entry]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        below: dict[int, list[Entry]] = {}
        for entry in self.generators():
            if entry.version.parent is not None and entry.version.parent != entry.version.number:
                below.setdefault(entry.version.parent, []).append(entry)
        object.__setattr__(self, "_below", below)

    def generators(self) -> list[Entry]:
        """The versions of `sa-cvae`."""
        return [e for e in self.entries if e.version.name == names.GENERATORS]

    def roots(self) -> list[Entry]:
        """Generators without a registered parent."""
        generators = self.generators()
        numbers = {e.version.number for e in generators}
        return [
            e for e in generators if e.version.parent not in numbers or e.version.parent == e.version.number
        ]

    def children(self, number: int) -> list[Entry]:
        """Generators made from generator `number`."""
        return list(self._below.get(number, ()))

    def others(self, name: str) -> list[Entry]:
        """The versions of another registered model."""
        return [e for e in self.entries if e.version.name == name]


def read(client: MlflowClient, *, with_metrics: bool = True) -> Lineage:
    """All registered versions, with their results unless `with_metrics` is False."""
    found = []
    for name in names.MODELS:
        aliases = alias_map(client, name)
        for version in versions.all_versions(client, name):
            pointed = tuple(sorted(a for a, number in aliases.items() if number == version.number))
            found.append(replace(version, aliases=pointed))
    results = _results(client, found) if with_metrics else {}
    ordered = sorted(found, key=lambda v: (names.MODELS.index(v.name), v.number))
    return Lineage(tuple(Entry(version, results.get(version.run_id, {})) for version in ordered))


def alias_map(client: MlflowClient, name: str) -> dict[str, int]:
    """Alias -> version number of a registered model; empty if it does not exist.

    MLflow's search returns versions without their aliases, so they are read from the model.
    """
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    return {str(a): int(n) for model in found for a, n in dict(model.aliases).items()}


def _results(client: MlflowClient, found: Iterable[Version]) -> dict[str, dict[str, float]]:
    """Run -> its results, read by pages: one by one, a large registry takes minutes."""
    experiments = [
        e.experiment_id
        for e in client.search_experiments(view_type=ViewType.ALL, max_results=MANY_EXPERIMENTS)
    ]
    wanted = sorted({v.run_id for v in found if RUN_ID.fullmatch(v.run_id)})
    results = {}
    for start in range(0, len(wanted), PAGE):
        chosen = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + PAGE])
        for run in client.search_runs(
            experiments, f"attributes.run_id IN ({chosen})", ViewType.ALL, max_results=PAGE
        ):
            results[run.info.run_id] = names.results(run.data.metrics)
    return results


def chain(client: MlflowClient, version: Version) -> list[Version]:
    """From the root to `version`."""

    def find(number: int) -> Version | None:
        try:
            return versions.get(client, names.GENERATORS, number)
        except versions.VersionError:
            return None

    return ancestry(version, find)


def forgotten_last(client: MlflowClient, version: Version) -> str | None:
    """Name of the class that was forgotten last; None if it has forgotten none.

    Older stores do not record it: then it is a class that the parent had not forgotten.
    """
    recorded = version.tags.get(names.FORGOTTEN_LAST, "")
    if recorded in version.forgotten:
        return recorded
    before = [v.forgotten for v in chain(client, version)[-2:-1]]
    new = [c for c in version.forgotten if before and c not in before[0]]
    found = new or version.forgotten
    return found[-1] if found else None


def base_of(client: MlflowClient, version: Version) -> Version | None:
    """The base that a generator descends from, itself if it is one.

    A retrained version has no parent: its base is that of its recipe, seed and data, else the newest of its seed and
    data.
    """
    root = chain(client, version)[0]
    if root.stage == "retrain":
        keys = {k: root.tags.get(k, "") for k in (names.DATASET, names.DATA_MD5, names.SEED)}
        keys[names.STAGE] = "base"
        everything = {**root.settings, "labels": list(range(len(root.classes)))}
        twin = {**keys, names.CONFIG: fingerprint("base", everything)}
        return versions.find(client, names.GENERATORS, twin) or versions.find(client, names.GENERATORS, keys)
    return root if root.stage == "base" else None


def tree_lines(lineage: Lineage) -> Iterator[str]:
    """The tree as text, one version a line."""
    seen: set[int] = set()

    def walk(entries: Iterable[Entry], indent: str) -> Iterator[str]:
        rows = [e for e in entries if e.version.number not in seen]
        for i, entry in enumerate(rows):
            seen.add(entry.version.number)
            last = i == len(rows) - 1
            branch = "" if indent == "" else indent[:-3] + ("└─ " if last else "├─ ")
            yield branch + line(entry)
            below = (indent[:-3] + ("   " if last else "│  ") if indent else "") + "   "
            yield from walk(lineage.children(entry.version.number), below)

    roots = lineage.roots()
    for root in roots:
        yield from walk([root], "")
    # Versions whose parent tags form a ring have no root.
    for entry in lineage.generators():
        yield from walk([entry], "")
    for name in (names.FISHERS, names.JUDGES):
        for entry in lineage.others(name):
            yield f"{name} {line(entry)}"


def line(entry: Entry) -> str:
    """A version in one line: title, aliases, its most important metrics, links, seed, and what is suppressed."""
    v, m = entry.version, entry.metrics
    shown = SHOWN.get(v.stage, ())
    words = [f"{label} {spell.format(m[key])}" for label, key, spell in shown if key in m]
    badges = "".join(f" @{a}" for a in v.aliases)
    links = [
        f"{word} v{number}"
        for word, tag, name in (("Fisher", names.FIM, names.FISHERS), ("judge", names.JUDGE, names.JUDGES))
        if v.stage == "forget" and (number := v.link(tag, name)) is not None
    ]
    seed = f"seed {v.tags[names.SEED]}" if v.tags.get(names.SEED) else ""
    claim = v.claim.partition(";")[0]
    detail = "  ".join(part for part in (*words, *links, seed, claim) if part)
    text = f"{v.title}{badges}  {detail}".rstrip()
    # Tags can be edited by hand: they must not break the line or reach the terminal as control characters.
    return "".join(c if c.isprintable() else "?" for c in text)
