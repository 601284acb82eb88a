"""`audit`: the versions and runs that hold a class. Reads alone, a sqlite store without MLflow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sa_mlops import environment
from sa_mlops.errors import plain
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import gates, inventory, names
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.version import Version
from sa_mlops.stages.result import Result, table

KNOWS, SUPPRESSED, FAILS, UNKNOWN = "knows it", "suppressed", "fails the gates", "unknown"
WITHDRAWN = "withdrawn"
FROM_SCRATCH = ("base", "retrain")
PARENT_RUN, MEASURED = "mlflow.parentRunId", "sa.version"
"""Tags of a run: the run that it is part of, and the version that it measured."""
TAGS, METRICS = (PARENT_RUN, MEASURED, names.REUSED), tuple(gates.FORGETTING.values())
"""Tags and metrics that are read of every run."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a generator stands to one class.

    Attributes
    ----------
    parent : number of the generator it was made from; None on roots.
    without : whether it records that it does not hold the class.
    scratch : whether it was trained from scratch.
    """

    parent: int | None
    without: bool
    scratch: bool


def tainted(origins: Mapping[int, Origin]) -> set[int]:
    """Numbers of the generators that were trained on the class, or descend from one that was.

    A generator is free of the class only if its chain of parents ends at one that was trained from scratch, and every
    generator of the chain is without the class. A chain that breaks off or is a ring proves nothing: it is tainted.
    """
    below: dict[int, list[int]] = {}
    for number, origin in origins.items():
        if origin.parent is not None:
            below.setdefault(origin.parent, []).append(number)
    waiting = [n for n, o in origins.items() if o.parent is None and o.scratch and o.without]
    free = set()
    while waiting:
        number = waiting.pop()
        free.add(number)
        waiting += [n for n in below.get(number, ()) if origins[n].without]
    return set(origins) - free


def state(version: Version, name: str, metrics: Mapping[str, float]) -> str:
    """The state of class `name` in a generator that it taints, from the records of the version."""
    if version.withdrawn:
        return WITHDRAWN
    if name not in version.forgotten:
        return KNOWS
    verdicts = gates.judge_forgetting(version, metrics)
    if any(not v.passed and not math.isnan(v.found) for v in verdicts):
        return FAILS
    return SUPPRESSED if all(v.passed for v in verdicts) else UNKNOWN


def audit(classes: Sequence[str], dataset: str | None) -> Result:
    """List the generators, Fisher diagonals, judges and runs that hold any of the classes.

    Raises ParameterError if no version records the data set, or one of the classes.

    Parameters
    ----------
    classes : names of classes as the versions record them.
    dataset : the data set whose versions are read; None for all.
    """
    return search(inventory.read(environment.store(), TAGS, METRICS), classes, dataset)


def search(held: Inventory, classes: Sequence[str], dataset: str | None) -> Result:
    """The same in an inventory that was read."""
    found = list(held.versions)
    if not found:
        nothing: dict[str, Any] = {"generators": [], "fishers": [], "judges": [], "runs": []}
        return Result(
            {"classes": list(classes), "dataset": dataset, **nothing}, "No version is registered yet."
        )
    everything, found = found, _of_dataset(found, dataset)
    known = sorted({c for v in found for c in v.classes})
    for name in classes:
        if name not in known:
            allowed = f"class names that the registered versions record ({', '.join(known)[:400]})"
            raise ParameterError("classes", name, allowed)
    generators = [v for v in found if v.name == names.GENERATORS]
    whole = [v for v in everything if v.name == names.GENERATORS]
    taint = {name: _tainted_by(name, whole) for name in classes}
    holders = _holders(generators, taint, held.metrics)
    bad = {int(h["version"]) for h in holders}
    numbers = {v.number for v in whole}
    fishers = [_other(v) for v in found if v.name == names.FISHERS and _fisher_holds(v, taint, numbers)]
    judges = [_other(v) for v in found if v.name == names.JUDGES and any(_retains(v, c) for c in classes)]
    showing = _showing(bad, [v for v in generators if v.number in bad], held.tags)
    document = {
        "classes": list(classes), "dataset": dataset, "generators": holders, "fishers": fishers, "judges": judges,
        "runs": showing,
    }  # fmt: skip
    return Result(document, _text(document))


def _of_dataset(found: Iterable[Version], dataset: str | None) -> list[Version]:
    """The versions of a data set, and those that record none."""
    everything = list(found)
    if dataset is None:
        return everything
    recorded = sorted({d for v in everything if (d := v.tags.get(names.DATASET, ""))})
    if dataset not in recorded:
        allowed = f"a data set of the registered versions ({', '.join(recorded)[:400] or 'none is recorded'})"
        raise ParameterError("dataset", dataset, allowed)
    return [v for v in everything if v.tags.get(names.DATASET, "") in ("", dataset)]


def _retains(version: Version, name: str) -> bool:
    return name in version.classes and name not in version.forgotten


def _tainted_by(name: str, generators: Sequence[Version]) -> set[int]:
    """Numbers of the generators that class `name` taints."""
    numbers = {v.number for v in generators}
    origins = {}
    for v in generators:
        # A version of data without the class has nothing to prove, even if its chain breaks off.
        foreign = name not in v.classes and v.parent not in numbers
        scratch = foreign or (v.stage in FROM_SCRATCH and not v.tags.get(names.PARENT))
        origins[v.number] = Origin(None if foreign else v.parent, not _retains(v, name), scratch)
    return tainted(origins)


def _fisher_holds(version: Version, taint: Mapping[str, Collection[int]], numbers: Collection[int]) -> bool:
    """Whether a Fisher diagonal was made with samples of a class, or of a generator that the class taints.

    One of a generator that is gone proves nothing, as a chain of parents that breaks off.
    """
    return any(
        _retains(version, name)
        or version.parent in bad
        or (name in version.classes and version.parent not in numbers)
        for name, bad in taint.items()
    )


def _holders(
    generators: Iterable[Version],
    taint: Mapping[str, Collection[int]],
    metrics: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    holders = []
    for v in generators:
        held = [name for name, bad in taint.items() if v.number in bad]
        if held:
            states = {name: state(v, name, metrics.get(v.run_id, {})) for name in held}
            parent = names.version_uri(names.GENERATORS, v.parent) if v.parent else None
            own = {"version": v.number, "parent": parent, "classes": states, "claim": v.claim}
            holders.append(_other(v) | own)
    return holders


def _other(version: Version) -> dict[str, Any]:
    return {
        "uri": version.uri,
        "title": version.title,
        "dataset": version.tags.get(names.DATASET, ""),
        "aliases": list(version.aliases),
        "run_id": version.run_id,
    }


def _showing(
    bad: Collection[int], holders: Iterable[Version], tags: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Ids of the runs that made, reused or measured one of the generators, and of the runs that these are part of."""
    shown = {v.run_id for v in holders if v.run_id}
    for run_id, told in tags.items():
        for tag in (names.REUSED, MEASURED):
            target = names.parse_uri(told.get(tag, ""))
            if target and target[0] == names.GENERATORS and target[1] in bad:
                shown.add(run_id)
    waiting = list(shown)
    while waiting:
        parent = tags.get(waiting.pop(), {}).get(PARENT_RUN, "")
        if parent and parent not in shown:
            shown.add(parent)
            waiting.append(parent)
    return sorted(shown)


def _text(document: Mapping[str, Any]) -> str:
    classes = document["classes"]
    rows = [
        [
            g["title"],
            *(g["classes"].get(c, "-") for c in classes),
            plain(" ".join(f"@{a}" for a in g["aliases"])),
        ]
        for g in document["generators"]
    ]
    lines = [table(["generator", *classes, "aliases"], rows) if rows else "No generator holds the class."]
    lines += [f"{g['title']}: {g['claim']}" for g in document["generators"] if g["claim"]]
    for word in ("fishers", "judges"):
        lines += [
            f"{names.FISHERS if word == 'fishers' else names.JUDGES} {o['title']}" for o in document[word]
        ]
    lines += [f"run {plain(run_id)}" for run_id in document["runs"]]
    return "\n".join(lines)
