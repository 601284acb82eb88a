"""`lineage`: the tree of versions, each generator under its parent. Reads alone, a sqlite store without MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sa_mlops import environment
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


def lineage_report(whole: bool) -> Result:
    """The tree of versions, and the recorded changes of aliases.

    Parameters
    ----------
    whole : read every result, as the document has them; else those alone that the tree shows, which is faster.
    """
    shown = {key for metrics in SHOWN.values() for _, key, _ in metrics}
    held = inventory.read(environment.store(), metrics=None if whole else sorted(shown))
    found, events = lineage_of(held), log.alias_events(held.records)
    lines = list(tree_lines(found))
    lines += [f"@{e.alias}: {_number(e.previous)} -> {_number(e.number)}" for e in events]
    text = (
        "\n".join(lines)
        or "No version is registered yet: `sa-mlops forget` makes a base and a forgetting version."
    )
    document = {
        "versions": [e.document() for e in found.entries],
        "aliases": [{"alias": e.alias, "from": e.previous, "to": e.number, "at": e.at} for e in events],
    }
    return Result(document, text)


def _number(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"


def lineage_of(held: Inventory) -> Lineage:
    """The versions of an inventory with the results of their runs."""
    return Lineage(tuple(Entry(v, names.results(held.metrics.get(v.run_id, {}))) for v in held.versions))


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
