"""Lists written as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from sa_mlops.files import replacing
from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.services.records import Run, Snapshot

Record = Mapping[str, object]


def of_runs(runs: Iterable[Run]) -> list[Record]:
    """A record a run: identity, state, times, parameters and results."""
    return [
        {"run": r.run_id, "name": r.name, "entry": r.entry, "status": r.status, "parent": r.parent,
         "started": r.started, "seconds": round(r.seconds(), 3)}
        | {f"param.{k}": v for k, v in r.given.items()}
        | names.results(r.metrics)
        for r in runs
    ]  # fmt: skip


def of_versions(snapshot: Snapshot, versions: Iterable[Version]) -> list[Record]:
    """A record a version: identity, aliases, tags and results."""
    return [
        {"version": v.uri, "title": v.title, "parent": v.parent, "aliases": ",".join(snapshot.aliases_of(v)),
         "created": v.created}
        | dict(v.tags)
        | dict(snapshot.metrics_of(v))
        for v in versions
    ]  # fmt: skip


def write(records: Sequence[Record], place: Path) -> tuple[Path, Path]:
    """Write `PLACE.csv` and `PLACE.json`, beside older ones of that name.

    Raises
    ------
    OSError : if they cannot be written.
    """
    table, document = unused(place, ".csv", ".json")
    with replacing(table) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for record in records for key in record)))
        writer.writeheader()
        writer.writerows(records)
    with replacing(document) as part:
        part.write_text(json.dumps(records, indent=1) + "\n")
    return table, document


def written(records: Sequence[Record], place: Path, read_only: bool) -> tuple[str, bool]:
    """Write them unless nothing may be written; a sentence for the user, and whether it is bad."""
    if read_only:
        return "read-only: nothing is written", True
    try:
        return "written to " + " and ".join(str(path) for path in write(records, place)), False
    except OSError as error:
        return f"not written: {error}", True


def unused(place: Path, *endings: str) -> list[Path]:
    """The place with each ending, and with the smallest number in its name with which none of them exists."""
    words = (f"{place.name}-{number}" if number else place.name for number in count())
    found = ([place.with_name(name + ending) for ending in endings] for name in words)
    return next(paths for paths in found if not any(path.exists() for path in paths))
