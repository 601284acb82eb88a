"""The tree of versions: what was made from what. No torch here, so that the terminal UI starts fast."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from sa_mlops.registry import names, versions
from sa_mlops.registry.versions import Version

_RETAINED = ("r", "retain.accuracy", "{:.3f}")
_GONE = (("p", "forget.prob", "{:.3f}"), ("H", "forget.entropy", "{:.3f}"), _RETAINED)
SHOWN: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "base": (("nELBO", "base.test_nelbo", "{:.2f}"), _RETAINED),
    "forget": _GONE,
    "oracle": _GONE,
    "judge": (("accuracy", "judge.accuracy", "{:.4f}"), ("ECE", "judge.ece", "{:.4f}")),
    "fim": (("trace", "fisher.trace", "{:.4g}"),),
}
"""Stage -> what its line in the tree shows: label, metric, spelling."""

HIDDEN = ("train.", "system/")
"""Metrics that are curves, not results."""
PAGE = 200
"""Runs read at a time."""
MANY_EXPERIMENTS = 10_000
RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A version with the results on its run."""

    version: Version
    metrics: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """JSON types only."""
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
        """Generators without a parent that is still there."""
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
    """Everything that is registered."""
    found = []
    for name in names.MODELS:
        aliases = alias_map(client, name)
        for version in versions.all_versions(client, name):
            pointed = tuple(sorted(a for a, number in aliases.items() if number == version.number))
            full = Version(
                name=version.name, number=version.number, tags=version.tags, aliases=pointed, run_id=version.run_id,
                model_id=version.model_id, created=version.created, description=version.description,
            )  # fmt: skip
            found.append(full)
    results = _results(client, found) if with_metrics else {}
    ordered = sorted(found, key=lambda v: (names.MODELS.index(v.name), v.number))
    return Lineage(tuple(Entry(version, results.get(version.run_id, {})) for version in ordered))


def alias_map(client: MlflowClient, name: str) -> dict[str, int]:
    """Alias -> version number of a registered model; empty if there is none.

    MLflow's search leaves aliases out of versions, so they are read from the model.
    """
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    return {str(a): int(n) for model in found for a, n in dict(model.aliases).items()}


def _results(client: MlflowClient, found: Iterable[Version]) -> dict[str, dict[str, float]]:
    """Run -> its results. Read many runs at a time: one by one, a large registry takes minutes."""
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
            results[run.info.run_id] = {k: v for k, v in run.data.metrics.items() if not k.startswith(HIDDEN)}
    return results


def chain(client: MlflowClient, version: Version) -> list[Version]:
    """From the root to `version`; a chain that closes on itself (tags can be edited by hand) is cut."""
    steps = [version]
    while steps[-1].parent is not None and steps[-1].parent not in {v.number for v in steps}:
        try:
            steps.append(versions.get(client, names.GENERATORS, steps[-1].parent))
        except versions.VersionError:
            break
    return steps[::-1]


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
    # Parents that were edited into a ring belong to no root; they are shown all the same.
    for entry in lineage.generators():
        yield from walk([entry], "")
    for name in (names.FISHERS, names.JUDGES):
        for entry in lineage.others(name):
            yield f"{name} {line(entry)}"


def line(entry: Entry) -> str:
    """A version in one line: title, aliases, and what matters most of its metrics."""
    v, m = entry.version, entry.metrics
    shown = SHOWN.get(v.stage, ())
    words = [f"{label} {spell.format(m[key])}" for label, key, spell in shown if key in m]
    badges = "".join(f" @{a}" for a in v.aliases)
    links = [
        f"{word} v{target[1]}"
        for word, key in (("Fisher", names.FIM), ("judge", names.JUDGE))
        if v.stage == "forget" and (target := names.parse_uri(v.tags.get(key, ""))) is not None
    ]
    seed = f"seed {v.tags[names.SEED]}" if v.tags.get(names.SEED) else ""
    detail = "  ".join(part for part in (*words, *links, seed) if part)
    text = f"{v.title}{badges}  {detail}".rstrip()
    # Tags can be edited by hand; they must not break the line or reach the terminal as commands.
    return "".join(c if c.isprintable() else "?" for c in text)
