"""`lineage`: the tree of versions, each generator under its parent. Reads alone, a sqlite store without MLflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sa_mlops import environment
from sa_mlops.errors import plain
from sa_mlops.registry import inventory, log, names
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.version import SHOWN, Version
from sa_mlops.stages.result import Result


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


def lineage_report(whole: bool) -> Result:
    """The tree of versions, and the recorded changes of aliases.

    Parameters
    ----------
    whole : read every result, as the document has them; else those alone that the tree shows, which is faster.
    """
    shown = {key for metrics in SHOWN.values() for _, key, _ in metrics}
    held = inventory.read(environment.store(), metrics=None if whole else sorted(shown))
    found, events = entries(held), log.alias_events(held.records)
    lines = list(tree_lines(found))
    lines += [plain(f"@{e.alias}: {_number(e.previous)} -> {_number(e.number)}") for e in events]
    text = (
        "\n".join(lines)
        or "No version is registered yet: `sa-mlops forget` makes a base and a forgetting version."
    )
    document = {
        "versions": [e.document() for e in found],
        "aliases": [{"alias": e.alias, "from": e.previous, "to": e.number, "at": e.at} for e in events],
    }
    return Result(document, text)


def _number(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"


def entries(held: Inventory) -> list[Entry]:
    """The versions of an inventory with the results of their runs."""
    return [Entry(v, names.results(held.metrics.get(v.run_id, {}))) for v in held.versions]


def tree_lines(known: Sequence[Entry]) -> Iterator[str]:
    """The tree as text, one version a line; Fisher diagonals and judges come last."""
    generators = [e for e in known if e.version.name == names.GENERATORS]
    numbers = {e.version.number for e in generators}
    below: dict[int | None, list[Entry]] = defaultdict(list)
    for entry in generators:
        below[entry.version.parent].append(entry)
    roots = [e for e in generators if e.version.parent not in numbers]
    # Versions whose parent tags form a ring have no root, and follow the others.
    waiting = [(e, "", "") for e in reversed([*roots, *generators])]
    seen: set[int] = set()
    while waiting:
        entry, branch, indent = waiting.pop()
        number = entry.version.number
        if number in seen:
            continue
        seen.add(number)
        yield branch + line(entry)
        children = [e for e in below[number] if e.version.number not in seen]
        for i, child in enumerate(reversed(children)):
            mark, bar = ("├─ ", "│  ") if i else ("└─ ", "   ")
            waiting.append((child, indent + mark, indent + bar))
    for name in (names.FISHERS, names.JUDGES):
        yield from (f"{name} {line(e)}" for e in known if e.version.name == name)


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
    # Tags can be edited by hand: they must not break the line or reach the terminal as control characters.
    text = f"{v.title}{badges}  {detail}".rstrip()
    return plain(text)
